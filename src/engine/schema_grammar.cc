#include "engine/schema_grammar.h"

#include <exception>
#include <stdexcept>

#include "base/json.h"
#include "base/mutex.h"
#include "engine/bounded_cache.h"
#include "engine/chat_template.h"
#include "json-schema-to-grammar.h"

namespace drover {
namespace {

constexpr std::size_t kToolsCachedMax = 32;
constexpr std::size_t kGrammarsCachedMax = 64;

// The grammar of a schema, as text. It is cached: schemas repeat from request to request, and a conversion can take
// milliseconds.
Result<std::string> grammar_of(const std::string& schema) {
  static Mutex mutex;
  static BoundedCache<std::string> cache GUARDED_BY(mutex){kGrammarsCachedMax};
  {
    const MutexLock lock(mutex);
    if (const std::string* found = cache.find(schema)) return *found;
  }
  std::string grammar;
  try {
    schema::SchemaRewriter rewriter;
    const auto kept = rewriter.rewrite(Json::parse(schema), "format", false);
    if (!kept) return invalid("invalid format: " + kept.error().message);
    grammar = rewriter.complete(json_schema_to_grammar(common_json::parse(kept->dump())));
  } catch (const std::exception& error) {
    return invalid(std::string("invalid format: ") + error.what());
  }
  const MutexLock lock(mutex);
  cache.add(schema, grammar);
  return grammar;
}

// The grammar of a tool's arguments; empty if the converter refuses them.
std::string grammar_or_nothing(const common_chat_tool& tool) {
  try {
    return json_schema_to_grammar(common_json::parse(tool.parameters));
  } catch (const std::exception&) {
    return {};
  }
}

bool become_the_same(const std::vector<common_chat_tool>& sent, const std::vector<common_chat_tool>& kept) {
  for (std::size_t i = 0; i < sent.size(); ++i) {
    const std::string grammar = grammar_or_nothing(sent[i]);
    if (grammar.empty() || grammar != grammar_or_nothing(kept[i])) return false;
  }
  return true;
}

std::shared_ptr<const KeptTools> make(const std::string& tools_json) {
  auto made = std::make_shared<KeptTools>();
  const auto rewritten = made->rewriter.rewrite_tools(Json::parse(tools_json));
  if (!rewritten) throw std::invalid_argument(rewritten.error().message);
  made->tools = common_chat_tools_parse_oaicompat(common_json::parse(rewritten->dump()));
  const auto sent = common_chat_tools_parse_oaicompat(common_json::parse(tools_json));
  made->same = !made->rewriter.has_rules() && become_the_same(sent, made->tools);
  return made;
}

}  // namespace

std::shared_ptr<const KeptTools> kept_tools(const std::string& tools_json) {
  static Mutex mutex;
  static BoundedCache<std::shared_ptr<const KeptTools>> cache GUARDED_BY(mutex){kToolsCachedMax};
  const MutexLock lock(mutex);
  if (const auto* found = cache.find(tools_json)) return *found;
  auto made = make(tools_json);
  cache.add(tools_json, made);
  return made;
}

Result<std::string> grammar_for(const pb::Format& format) {
  switch (format.kind()) {
    case pb::Format::JSON:
      return grammar_of(R"({"type":"object"})");
    case pb::Format::JSON_SCHEMA:
      return grammar_of(format.schema_json());
    default:
      return std::string();
  }
}

}  // namespace drover
