#include "engine/kept_tools.h"

#include <list>
#include <mutex>
#include <stdexcept>
#include <unordered_map>

#include "json-schema-to-grammar.h"

namespace drover {
namespace {

constexpr std::size_t kToolsCachedMax = 32;
constexpr std::size_t kCachedBytesMax = 1 << 20;

// The grammar of a tool's arguments, or nothing where the converter refuses them.
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
  const auto rewritten = made->rewriter.rewrite_tools(schema::Json::parse(tools_json));
  if (!rewritten) throw std::invalid_argument(rewritten.error().message);
  made->tools = common_chat_tools_parse_oaicompat(common_json::parse(rewritten->dump()));
  const auto sent = common_chat_tools_parse_oaicompat(common_json::parse(tools_json));
  made->same = !made->rewriter.has_rules() && become_the_same(sent, made->tools);
  return made;
}

}  // namespace

std::shared_ptr<const KeptTools> kept_tools(const std::string& tools_json) {
  static std::mutex mutex;
  static std::unordered_map<std::string, std::shared_ptr<const KeptTools>> cache;
  static std::list<std::string> order;  // oldest first
  const std::lock_guard lock(mutex);
  if (const auto found = cache.find(tools_json); found != cache.end()) return found->second;
  auto made = make(tools_json);
  if (tools_json.size() > kCachedBytesMax) return made;
  if (order.size() >= kToolsCachedMax) {
    cache.erase(order.front());
    order.pop_front();
  }
  order.push_back(tools_json);
  cache.emplace(tools_json, made);
  return made;
}

}  // namespace drover
