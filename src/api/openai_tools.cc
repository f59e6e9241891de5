#include "api/openai_tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "api/answer_parts.h"
#include "api/schema_check.h"

namespace drover::api {
namespace {

constexpr const char* kInputName = "input";
// Codex hands all of its plain functions over as members of this namespace in one of its modes, and takes their calls
// without it.
constexpr std::string_view kPlainNamespace = "functions";

// What OpenAI's servers run themselves. There are dated versions of some: web_search_preview_2025_03_11.
constexpr std::array<std::string_view, 10> kHosted = {
    "web_search", "file_search", "computer", "code_interpreter", "image_generation",
    "mcp",        "local_shell", "shell",    "apply_patch",      "tool_search"};

bool is_hosted(std::string_view type) {
  return std::any_of(kHosted.begin(), kHosted.end(), [&](std::string_view hosted) {
    return type.starts_with(hosted) && (type.size() == hosted.size() || type[hosted.size()] == '_');
  });
}

// In chat a definition is nested under its type, in Responses it is not.
const Json& definition_of(const Json& tool, const std::string& type) {
  const auto nested = tool.find(type.empty() ? "function" : type);
  return nested != tool.end() && nested->is_object() ? *nested : tool;
}

std::string text_of(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string joined(const std::string& space, const std::string& name) {
  if (space.empty() || space == kPlainNamespace) return name;
  const std::size_t end = space.find_last_not_of('_') + 1;
  const std::size_t begin = std::min(name.find_first_not_of('_'), name.size());
  return space.substr(0, end) + "__" + name.substr(begin);
}

// Neither holds it as a rule, and where one does nothing is lost but a name of its own.
std::string key_of(const std::string& space, const std::string& name) {
  return space + '\0' + name;
}

// What the one parameter of a custom tool is to hold; a model that is not told the grammar cannot keep to it.
std::string custom_description(const Json& definition) {
  std::string text = text_of(definition, "description");
  const auto format = definition.find("format");
  if (format == definition.end() || !format->is_object()) return text;
  const auto nested = format->find("grammar");
  const Json& grammar = nested != format->end() && nested->is_object() ? *nested : *format;
  const std::string rules = text_of(grammar, "definition");
  if (rules.empty()) return text;
  return fmt::format("{}\nThe input follows this grammar ({}):\n{}", text, text_of(grammar, "syntax"), rules);
}

Json custom_parameters() {
  Json parameters = Json::object();
  parameters["type"] = "object";
  parameters["properties"][kInputName]["type"] = "string";
  parameters["required"] = Json::array({kInputName});
  return parameters;
}

}  // namespace

Result<void> OpenaiTools::read(const Json& list, Warnings& warnings) {
  for (const Json& tool : list) {
    if (auto added = add(tool, "", warnings); !added) return added;
  }
  return {};
}

Result<void> OpenaiTools::add(const Json& tool, const std::string& space, Warnings& warnings) {
  if (!tool.is_object()) return invalid("a tool must be an object");
  Fields fields(tool, "Tool");
  const std::string type = fields.text("type");
  if (fields.error()) return *fields.error();
  if (type == "namespace" && space.empty()) {
    const std::string name = fields.text("name");
    const Json* members = fields.array("tools");
    if (fields.error()) return *fields.error();
    if (name.empty()) return invalid("a tool of the type \"namespace\" needs a name");
    if (members == nullptr) return {};
    for (const Json& member : *members) {
      if (auto added = add(member, name, warnings); !added) return added;
    }
    return {};
  }
  const Json& definition = definition_of(tool, type);
  Fields own(definition, "ToolFunction");
  const std::string name = own.text("name");
  const std::string description = own.text("description");
  const Json* parameters = own.object("parameters");
  const bool strict = own.flag("strict").value_or(false);
  if (own.error()) return *own.error();
  const bool known = type.empty() || type == "function" || type == "custom";
  if (is_hosted(type) || (!known && name.empty())) {
    warnings.add(fmt::format("tools of the type \"{}\" are left out", type));
    left_out_.insert(type);
    return {};
  }
  if (name.empty()) return invalid(fmt::format("a tool of the type \"{}\" needs a name", type));
  if (functions_.size() >= kToolsMax) return invalid(fmt::format("more than {} tools", kToolsMax));

  std::string function = joined(space, name);
  while (names_.count(function) > 0 && (function != name || tools_.count(function) > 0)) function += '_';
  names_.insert(function);
  const bool custom = type == "custom";
  if (function != joined(space, name)) renamed_[key_of(space, name)] = function;
  if (function != name || custom) {
    tools_[function] = {space == kPlainNamespace ? std::string() : space, name, custom};
  } else if (&definition != &tool && space.empty() && (type.empty() || type == "function")) {
    Json& kept = functions_.emplace_back(tool);  // it is in the native form
    kept["type"] = "function";
    for (const char* member : {"description", "parameters"}) {
      if (const auto found = kept["function"].find(member); found != kept["function"].end() && found->is_null())
        kept["function"].erase(member);
    }
    return {};
  }
  Json native = Json::object();
  native["type"] = "function";
  native["function"]["name"] = std::move(function);
  native["function"]["description"] = custom ? custom_description(definition) : description;
  native["function"]["parameters"] = Json::object();
  if (custom) {
    native["function"]["parameters"] = custom_parameters();
  } else if (parameters != nullptr) {
    native["function"]["parameters"] = *parameters;
  }
  if (strict) native["function"]["strict"] = true;
  functions_.push_back(std::move(native));
  return {};
}

std::string OpenaiTools::function_of(const std::string& space, const std::string& name) const {
  const auto renamed = renamed_.find(key_of(space, name));
  return renamed != renamed_.end() ? renamed->second : joined(space, name);
}

OpenaiTool OpenaiTools::tool_of(const std::string& function) const {
  const auto found = tools_.find(function);
  return found != tools_.end() ? found->second : OpenaiTool{"", function, false};
}

Result<ToolChoice> OpenaiTools::choose(const Json& choice) {
  using Kind = ToolChoice::Kind;
  if (choice == "any") return ToolChoice{Kind::kRequired, {}};  // Mistral's word
  if (!choice.is_object()) return read_tool_choice(choice);
  const std::string type = text_of(choice, "type");
  if (type == "any") return ToolChoice{Kind::kRequired, {}};
  if (type == "auto" || type == "none" || type == "required") return read_tool_choice(Json(type));
  if (left_out_.count(type) > 0) return ToolChoice{};  // a wish for what was left out is none
  const Json& definition = definition_of(choice, type);
  if (type == "allowed_tools") return allow(definition);
  const std::string name = text_of(definition, "name");
  if (!name.empty()) return ToolChoice{Kind::kNamed, function_of(text_of(definition, "namespace"), name)};
  if (type.empty() || type == "function" || type == "custom") return read_tool_choice(choice);
  return invalid(fmt::format("tool_choice names \"{}\", which is not among the tools", type));
}

Result<ToolChoice> OpenaiTools::allow(const Json& allowed) {
  Fields fields(allowed, "AllowedTools");
  const std::string mode = fields.optional_text("mode").value_or("auto");
  const Json* list = fields.array("tools");
  if (fields.error()) return *fields.error();
  if (mode != "auto" && mode != "required") {
    return invalid("invalid tool_choice: the mode of allowed_tools is \"auto\" or \"required\"");
  }
  std::unordered_set<std::string> functions;
  for (const Json& tool : list != nullptr ? *list : Json::array()) {
    if (!tool.is_object()) return invalid("invalid tool_choice: allowed_tools holds objects that name a tool");
    const Json& definition = definition_of(tool, text_of(tool, "type"));
    const std::string name = text_of(definition, "name");
    if (name.empty()) continue;  // one that was left out
    const std::string function = function_of(text_of(definition, "namespace"), name);
    if (names_.count(function) == 0) {
      return invalid(fmt::format("tool_choice names \"{}\", which is not among the tools", name));
    }
    functions.insert(function);
  }
  Json kept = Json::array();
  for (Json& tool : functions_) {
    if (functions.count(text_of(tool["function"], "name")) > 0) kept.push_back(std::move(tool));
  }
  functions_ = std::move(kept);
  if (functions_.empty() && mode == "required") return invalid("invalid tool_choice: none of the tools is allowed");
  return read_tool_choice(Json(mode));
}

Json custom_arguments(std::string input) {
  Json arguments = Json::object();
  arguments[kInputName] = std::move(input);
  return arguments;
}

std::string custom_input(const pb::ToolCall& call) {
  Json arguments;
  if (JsonReader(kBodyBounds).read(call.arguments_json(), arguments)) return call.arguments_json();
  const auto input = arguments.is_object() ? arguments.find(kInputName) : arguments.end();
  if (input != arguments.end() && input->is_string()) return input->get<std::string>();
  return arguments_text(call);
}

}  // namespace drover::api
