// Turns the schemas of tools into grammars; see grammar_for() for the schema of a format.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chat.h"
#include "schema/schema_rewrite.h"

namespace drover {

// The tools of a request, with schemas that a grammar can enforce. The model reads the schemas as they were sent; the
// grammar of its calls is made from these.
struct KeptTools {
  std::vector<common_chat_tool> tools;
  schema::SchemaRewriter rewriter;  // completes the grammar of the tools
  bool same = false;                // the tools as they were sent give the same grammar
};

// The results of recent calls are cached. Any thread. Throws llama.cpp's exceptions for invalid tools, and
// std::invalid_argument for a schema that cannot be used.
std::shared_ptr<const KeptTools> kept_tools(const std::string& tools_json);

}  // namespace drover
