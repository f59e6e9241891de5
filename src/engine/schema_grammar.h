// From the schemas of tools to grammars; see grammar_for() for those of a format.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chat.h"
#include "schema/schema_rewrite.h"

namespace drover {

// The tools of a request. The model reads their schemas as they were sent; its calls are bound by these.
struct KeptTools {
  std::vector<common_chat_tool> tools;
  schema::SchemaRewriter rewriter;  // completes the grammar that the tools become
  bool same = false;                // the tools as they were sent become the same grammar
};

// Of the last requests' tools they are remembered. Any thread. Throws what llama.cpp throws for tools that are none,
// and std::invalid_argument for a schema that cannot be used.
std::shared_ptr<const KeptTools> kept_tools(const std::string& tools_json);

}  // namespace drover
