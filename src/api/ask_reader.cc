#include "api/ask_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/call_arguments.h"
#include "base/go_duration.h"
#include "base/settings.h"
#include "base/text.h"
#include "schema/schema_rewrite.h"
#include "store/parameters.h"

namespace drover::api {
namespace {

constexpr std::int64_t kTopLogprobsMax = 20;
constexpr std::size_t kMessagesMax = 100'000;
constexpr double kKeepAliveSecondsMax = 9e9;  // what a Duration holds

// The name of the function that a tool, or the wish for one, is about; null: it names none.
const Json* function_name(const Json& object) {
  if (!object.is_object()) return nullptr;
  const auto function = object.find("function");
  if (function == object.end() || !function->is_object()) return nullptr;
  const auto name = function->find("name");
  return name == function->end() || !name->is_string() ? nullptr : &*name;
}

Json tools_named(const Json& tools, const std::string& name) {
  Json found = Json::array();
  for (const Json& tool : tools) {
    const Json* own = function_name(tool);
    if (own != nullptr && *own == name) found.push_back(tool);
  }
  return found;
}

}  // namespace

Result<void> AskReader::options(const Json& given) {
  auto checked = check_options(given);
  if (!checked) return std::move(checked).error();
  if (auto in_range = check_ranges(*checked); !in_range) return in_range;
  ask_.options = std::move(*checked);
  return {};
}

Result<void> AskReader::think(const Json& value) {
  if (value.is_boolean()) {
    ask_.think.wish = think_of(value.get<bool>()).wish;
    ask_.think.level.clear();
    return {};
  }
  if (!value.is_string()) {
    return invalid("think must be a boolean or string (\"high\", \"medium\", \"low\", \"max\", true, or false)");
  }
  const auto& level = value.get_ref<const std::string&>();
  if (!is_think_level(level)) {
    return invalid(fmt::format(
        "invalid think value: \"{}\" (must be \"high\", \"medium\", \"low\", \"max\", true, or false)", level));
  }
  ask_.think.wish = pb::THINKING_ON;
  ask_.think.level = level;
  return {};
}

Result<void> AskReader::logprobs(bool wanted, std::int64_t top) {
  if (top < 0 || top > kTopLogprobsMax) return invalid("top_logprobs must be between 0 and 20");
  ask_.logprobs = wanted;
  ask_.top_logprobs = static_cast<std::uint32_t>(top);
  return {};
}

// The runner rewrites the schema again, in the same way, before it makes a grammar of it: here it is found out what is
// not kept, and whether what comes of it is still within the bounds.
Result<void> AskReader::format(const FormatAsk& format) {
  ask_.format.set_kind(format.kind);
  if (format.kind != pb::Format::JSON_SCHEMA) return {};
  const auto wrong = [](const Error& error) { return invalid("invalid format: " + error.message); };
  if (auto checked = check_schema(format.schema, budget_); !checked) return wrong(checked.error());
  schema::SchemaRewriter rewriter;
  const auto rewritten = rewriter.rewrite(format.schema, "format", format.strict);
  if (!rewritten) return wrong(rewritten.error());
  SchemaBudget rewritten_budget;
  if (auto checked = check_schema(*rewritten, rewritten_budget); !checked) return wrong(checked.error());
  for (const std::string& warning : rewriter.warnings()) warnings().add(warning);
  ask_.format.set_schema_json(format.schema.dump());
  return {};
}

Result<void> AskReader::check_message_count(std::size_t count) {
  if (count <= kMessagesMax) return {};
  return invalid(fmt::format("more than {} messages", kMessagesMax));
}

Result<void> AskReader::tools(const Json& tools, const ToolChoice& choice, bool one_call) {
  if (tools.empty()) return {};
  ask_.has_tools = true;
  if (auto checked = check_tools(tools, budget_); !checked) return checked;
  schema::SchemaRewriter rewriter;  // as for the format
  const auto rewritten = rewriter.rewrite_tools(tools);
  if (!rewritten) return rewritten.error();
  SchemaBudget rewritten_budget;
  if (auto checked = check_tools(*rewritten, rewritten_budget); !checked) return checked;
  for (const std::string& warning : rewriter.warnings()) warnings().add(warning);

  pb::Chat& chat = std::get<pb::Chat>(ask_.input);
  chat.set_one_call(one_call);
  if (choice.kind == ToolChoice::Kind::kNone) return {};
  chat.set_tool_required(choice.kind != ToolChoice::Kind::kAuto);
  if (choice.kind != ToolChoice::Kind::kNamed) {
    chat.set_tools_json(tools.dump());
    return {};
  }
  // A function by name is the only one that is offered, and has to be called.
  const Json chosen = tools_named(tools, choice.name);
  if (chosen.empty()) {
    return invalid(fmt::format("tool_choice names {}, which is not among the tools", to_text(Json(choice.name))));
  }
  chat.set_tools_json(chosen.dump());
  return {};
}

Result<void> AskReader::call(pb::Message& message, std::string id, std::string name, const Json* arguments) {
  Json made;
  if (arguments == nullptr || !arguments->is_object()) {
    auto read = call_arguments(arguments, texts_, warnings());
    if (!read) return std::move(read).error();
    made = std::move(*read);
    arguments = &made;
  }
  if (auto handed = check_handed(*arguments, budget_); !handed) {
    return invalid("tool call arguments: " + handed.error().message);
  }
  called_[id] = name;
  pb::ToolCall& call = *message.add_tool_calls();
  call.set_id(std::move(id));
  call.set_name(std::move(name));
  call.set_arguments_json(arguments->dump());
  return {};
}

std::string AskReader::called(const std::string& id) const {
  const auto found = called_.find(id);
  return found != called_.end() ? found->second : std::string();
}

Result<void> take_option(Json& options, const char* option, const char* written, const Json& value) {
  options[option] = value;
  Json alone = Json::object();
  alone[option] = value;
  const auto named = [written](const Error& error) { return invalid(fmt::format("{}: {}", written, error.message)); };
  const auto checked = check_options(alone);
  if (!checked) return named(checked.error());
  if (auto in_range = check_ranges(*checked); !in_range) return named(in_range.error());
  return {};
}

Result<ToolChoice> read_tool_choice(const Json& choice) {
  using Kind = ToolChoice::Kind;
  if (choice.is_null() || choice == "auto") return ToolChoice{};
  if (choice == "none") return ToolChoice{Kind::kNone, {}};
  if (choice == "required") return ToolChoice{Kind::kRequired, {}};
  if (const Json* name = function_name(choice)) return ToolChoice{Kind::kNamed, name->get<std::string>()};
  return invalid("invalid tool_choice: it takes \"auto\", \"none\", \"required\" or an object that names a function");
}

ThinkAsk think_of(bool wanted) {
  return {wanted ? pb::THINKING_ON : pb::THINKING_OFF, {}, ThinkRule::kRefuse};
}

Result<std::optional<Duration>> read_keep_alive(const Json* value) {
  if (value == nullptr) return std::optional<Duration>();
  if (value->is_number()) {
    const double seconds = value->get<double>();
    if (seconds < 0) return std::optional<Duration>(Duration::min());
    const std::chrono::duration<double> bounded(std::min(seconds, kKeepAliveSecondsMax));
    return std::optional<Duration>(std::chrono::duration_cast<Duration>(bounded));
  }
  if (value->is_string()) {
    // Ollama wants a unit. Applications hand on what somebody typed, and all of them mean seconds.
    const auto parsed = parse_seconds_or_go_duration(trimmed(value->get_ref<const std::string&>()));
    if (!parsed) return parsed.error();
    return std::optional<Duration>(parsed->count() < 0 ? Duration::min() : Duration(*parsed));
  }
  return invalid("keep_alive must be a number of seconds or a duration string");
}

}  // namespace drover::api
