#include "cli/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/go_duration.h"
#include "cli/repl_help.h"
#include "store/model_name.h"
#include "store/parameters.h"
#include "terminal/format.h"

namespace drover::cli {
namespace {

// Several values are the items of a list (stop); of anything else the first one counts.
Result<Json> parse_parameter_values(const std::string& name, const std::vector<std::string>& values) {
  auto parsed = parse_parameter(name, values.front());
  if (!parsed.ok() || !parsed->is_array()) return parsed;
  for (std::size_t i = 1; i < values.size(); ++i) {
    auto more = parse_parameter(name, values[i]);
    if (!more.ok()) return more;
    parsed->insert(parsed->end(), more->begin(), more->end());
  }
  return parsed;
}

std::string set_parameter(const std::vector<std::string>& words, Session& session) {
  if (words.size() < 4) return std::string(kParameterHelp);
  const std::string& name = words[2];
  const std::vector<std::string> values(words.begin() + 3, words.end());
  auto parsed = parse_parameter_values(name, values);
  if (!parsed.ok()) return fmt::format("Couldn't set parameter: {}\n", in_quotes(parsed.error().message));
  session.options[name] = *std::move(parsed);
  return fmt::format("Set parameter '{}' to '{}'\n", name, fmt::join(values, ", "));
}

std::string set_format(const std::vector<std::string>& words, Session& session) {
  if (words.size() < 3 || words[2] != "json") {
    return "Invalid or missing format. For 'json' mode use '/set format json'\n";
  }
  session.format = parse_format(words[2]);
  return "Set format to 'json' mode.\n";
}

std::string set_think(const std::vector<std::string>& words, Session& session) {
  std::string warning;
  if (!session.thinking_supported) {
    warning = fmt::format("warning: model {} does not support thinking output\n", in_quotes(session.model));
  }
  session.think_chosen = true;
  if (words[1] == "nothink") {
    session.think = false;
    return warning + "Set 'nothink' mode.\n";
  }
  if (words.size() > 2) {
    session.think = words[2];
    return warning + fmt::format("Set 'think' mode to '{}'.\n", words[2]);
  }
  session.think = true;
  return warning + "Set 'think' mode.\n";
}

}  // namespace

void Session::learn(const Json& shown) {
  const Json& capabilities = array_field(shown, "capabilities");
  const auto can = [&](std::string_view what) {
    return std::find(capabilities.begin(), capabilities.end(), what) != capabilities.end();
  };
  thinking_supported = can("thinking");
  vision_supported = can("vision");
  embeds_only = can("embedding") && !can("completion");
  parent_model = text_field(object_field(shown, "details"), "parent_model");
  model_messages = array_field(shown, "messages");
  // What the model adds to its parent of its own would be lost if a new one were made from the parent.
  const bool has_own = !text_field(shown, "system").empty() || !text_field(shown, "parameters").empty();
  if (has_own || !model_messages.empty()) parent_model.clear();
  if (think_chosen) return;
  think = nullptr;
  if (thinking_supported) think = true;
}

void Session::set_system(const std::string& text) {
  system = text;
  if (!messages.empty() && text_field(messages.back(), "role") == "system") messages.erase(messages.size() - 1);
  messages.push_back({{"role", "system"}, {"content", text}});
}

void Session::clear() {
  messages = Json::array();
  if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
}

Json Session::request() const {
  Json body = {{"model", model}};
  if (!options.empty()) body["options"] = options;
  if (!format.is_null()) body["format"] = format;
  if (!keep_alive.is_null()) body["keep_alive"] = keep_alive;
  if (!think.is_null()) body["think"] = think;
  return body;
}

Json Session::create_request(const std::string& name) const {
  // The parent may be a path on the server: then this model itself is what the new one is made from.
  const bool named = ModelName::parse(parent_model).ok();
  Json body = {{"model", name}, {"from", named ? parent_model : model}};
  if (!system.empty()) body["system"] = system;
  if (!options.empty()) body["parameters"] = options;
  if (messages.empty()) return body;
  // The new model's messages take the place of those of the model it is made from.
  body["messages"] = model_messages;
  body["messages"].insert(body["messages"].end(), messages.begin(), messages.end());
  return body;
}

Json parse_format(const std::string& text) {
  if (text.empty()) return nullptr;
  Json parsed = Json::parse(text, nullptr, false);
  return parsed.is_object() ? parsed : Json(text);
}

Result<Json> parse_keep_alive(const std::string& text) {
  if (text.empty()) return Json(nullptr);
  const auto duration = parse_go_duration(text);
  if (!duration.ok()) return duration.error();
  return duration->count() < 0 ? Json(-1) : Json(text);
}

Result<Json> parse_think(const std::string& text) {
  if (text.empty() || text == "true") return Json(true);
  if (text == "false") return Json(false);
  if (text == "high" || text == "medium" || text == "low" || text == "max") return Json(text);
  return invalid(
      fmt::format("invalid value for --think: {} (must be true, false, high, medium, low, or max)", in_quotes(text)));
}

std::string apply_set(const std::vector<std::string>& words, Session& session) {
  if (words.size() < 2) return std::string(kSetHelp);
  const std::string& what = words[1];
  if (what == "parameter") return set_parameter(words, session);
  if (what == "format") return set_format(words, session);
  if (what == "think" || what == "nothink") return set_think(words, session);
  if (what == "noformat") {
    session.format = nullptr;
    return "Disabled format.\n";
  }
  if (what == "history" || what == "nohistory") {
    session.history = what == "history";
    return "";
  }
  if (what == "wordwrap" || what == "nowordwrap") {
    session.word_wrap = what == "wordwrap";
    return fmt::format("Set '{}' mode.\n", what);
  }
  if (what == "verbose" || what == "quiet") {
    session.verbose = what == "verbose";
    return fmt::format("Set '{}' mode.\n", what);
  }
  return fmt::format("Unknown command '/set {}'. Type /? for help\n", what);
}

}  // namespace drover::cli
