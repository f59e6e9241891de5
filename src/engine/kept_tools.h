// The tools of a request with their schemas in the form that llama.cpp's converter keeps. The model reads the schemas
// as they were sent; its calls are bound by these.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chat.h"
#include "schema/schema_rewrite.h"

namespace drover {

struct KeptTools {
  std::vector<common_chat_tool> tools;
  schema::SchemaRewriter rewriter;  // completes the grammar that the tools become
  bool same = false;                // the tools as they were sent become the same grammar
};

// Of the last requests' tools they are remembered. Any thread. Throws what llama.cpp throws for tools that are none,
// and std::invalid_argument for a schema that cannot be used.
std::shared_ptr<const KeptTools> kept_tools(const std::string& tools_json);

}  // namespace drover
