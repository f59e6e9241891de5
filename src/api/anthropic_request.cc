#include "api/anthropic_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "api/anthropic_answer.h"
#include "api/call_arguments.h"

namespace drover::api {
namespace {

// Claude Code's first system block. It is addressed to Anthropic's billing and changes with each conversation, so that
// no two of them would have a beginning of their prompt in common.
constexpr std::string_view kBillingHeader = "x-anthropic-billing-header:";
// Tools of these types are run by Anthropic's servers. Others that have a type are known to Anthropic's models, and run
// by the client as any other.
constexpr std::string_view kHostedTools[] = {"web_search_",      "web_fetch_",  "code_execution_",
                                             "tool_search_tool", "mcp_toolset", "advisor_"};

bool is_hosted(std::string_view type) {
  return std::any_of(std::begin(kHostedTools), std::end(kHostedTools),
                     [&](std::string_view prefix) { return type.starts_with(prefix); });
}

// A member that is a text; empty if it is none.
std::string text_member(const Json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

void left_out(std::string_view type, Warnings& warnings) {
  warnings.add(fmt::format("content blocks of the type \"{}\" are left out", type));
}

// Content where only text counts: of a system prompt, a result, a document. What is not text is left out.
class TextReader {
 public:
  explicit TextReader(Warnings& warnings) : warnings_(warnings) {}

  // A string, or blocks, which are put together as they are. Anything else is the server's own form of a result.
  Result<std::string> read(const Json* content) {
    if (content == nullptr) return std::string();
    if (content->is_string()) return content->get<std::string>();
    if (!content->is_array()) return of_result(*content);
    std::string text;
    for (const Json& block : *content) {
      auto part = of_block(block);
      if (!part) return part;
      text += *part;
    }
    return text;
  }

  Result<std::string> of_block(const Json& block) {
    const std::string type = text_member(block, "type");
    if (type == "text") {
      Fields fields(block, "ContentBlock");
      std::string text = fields.text("text");
      if (fields.error()) return *fields.error();
      return text;
    }
    if (type == "document") return of_document(block);
    if (type == "web_search_result") {
      return fmt::format("- {}: {}\n", text_member(block, "title"), text_member(block, "url"));
    }
    if (type.ends_with("_error")) return of_result(block);
    left_out(type, warnings_);
    // A result that is nothing but an image would say that there was none.
    return std::string(type == "image" ? "[an image, which is not shown to the model]" : "");
  }

  Result<std::string> of_document(const Json& block) {
    const auto source = block.find("source");
    const std::string type = source == block.end() ? "" : text_member(*source, "type");
    std::string text;
    if (type == "text") {
      text = text_member(*source, "data");
    } else if (type == "content" && source->contains("content")) {
      auto read_content = read(&source->at("content"));
      if (!read_content) return read_content;
      text = std::move(*read_content);
    } else {
      warnings_.add(fmt::format("documents with a source of the type \"{}\" are left out", type));
    }
    if (!text.empty() && !text.ends_with('\n')) text += '\n';
    return text;
  }

 private:
  static std::string of_result(const Json& result) {
    const std::string type = text_member(result, "type");
    if (!type.ends_with("_error")) return to_text(result);
    const std::string code = text_member(result, "error_code");
    return code.empty() ? type : type + ": " + code;
  }

  Warnings& warnings_;
};

// One message of theirs may be several of ours: tool results are messages of their own.
class MessageReader {
 public:
  explicit MessageReader(Warnings& warnings) : warnings_(warnings), texts_(warnings) {}

  Result<void> read(const Json& message) {
    if (!message.is_object()) return invalid("a message must be an object");
    Fields fields(message, "MessageParam");
    role_ = fields.text("role");
    const Json* content = fields.any("content");
    if (fields.error()) return *fields.error();
    if (role_ != "user" && role_ != "assistant" && role_ != "system") {
      return invalid(fmt::format("invalid message role: \"{}\"", role_));
    }
    if (content == nullptr) return invalid("message content is required");
    begin();
    if (content->is_string()) {
      own_["content"] = *content;
      messages_.push_back(std::move(own_));
      return {};
    }
    if (!content->is_array()) return invalid("message content must be a string or a list of content blocks");
    for (const Json& block : *content) {
      if (auto read = read_block(block); !read) return read;
    }
    finish();
    return {};
  }

  // Text, or blocks of it.
  Result<void> read_system(const Json* system) {
    if (system == nullptr) return {};
    std::string text;
    if (system->is_array()) {
      for (const Json& block : *system) {
        auto part = texts_.of_block(block);
        if (!part) return part.error();
        if (&block != &system->front() || !part->starts_with(kBillingHeader)) text += *part;
      }
    } else if (system->is_string()) {
      text = system->get<std::string>();
    } else {
      return invalid("system must be a string or a list of content blocks");
    }
    if (!text.empty()) messages_.push_back(Json{{"role", "system"}, {"content", std::move(text)}});
    return {};
  }

  Json take() { return std::move(messages_); }

 private:
  void begin() {
    own_ = Json::object();
    own_["role"] = role_;
    own_["content"] = "";
    text_.clear();
  }

  void finish() {
    const bool said = !text_.empty() || own_.contains("tool_calls") || own_.contains("thinking");
    own_["content"] = std::move(text_);
    if (said) messages_.push_back(std::move(own_));
  }

  Result<void> read_block(const Json& block) {
    if (!block.is_object()) return invalid("a content block must be an object");
    Fields fields(block, "ContentBlock");
    const std::string type = fields.text("type");
    if (fields.error()) return *fields.error();
    if (type == "text" || type == "document") {
      auto text = texts_.of_block(block);
      if (!text) return text.error();
      text_ += *text;
    } else if (type == "thinking") {
      const std::string thinking = fields.text("thinking");
      if (!thinking.empty()) own_["thinking"] = text_member(own_, "thinking") + thinking;
    } else if (type == "image") {
      return invalid("image input is not supported yet");
    } else if (type.ends_with("tool_use")) {  // also those of servers: server_tool_use, mcp_tool_use
      return read_tool_use(fields, type == "tool_use");
    } else if (type.ends_with("tool_result")) {  // web_search_tool_result and its like
      return read_tool_result(fields);
    } else if (type != "redacted_thinking") {
      left_out(type, warnings_);
    }
    if (fields.error()) return *fields.error();
    return {};
  }

  Result<void> read_tool_use(Fields& fields, bool strict) {
    const std::string id = fields.text("id");
    const std::string name = fields.text("name");
    if (fields.error()) return *fields.error();
    if (strict && id.empty()) return invalid("tool_use block missing required 'id' field");
    if (name.empty()) return invalid("tool_use block missing required 'name' field");
    auto arguments = call_arguments(fields.any("input"), arguments_, warnings_);
    if (!arguments) return arguments.error();
    names_[id] = name;
    Json call = Json::object();
    call["id"] = id;
    call["function"]["name"] = name;
    call["function"]["arguments"] = std::move(*arguments);
    own_["tool_calls"].push_back(std::move(call));
    return {};
  }

  Result<void> read_tool_result(Fields& fields) {
    const std::string id = fields.text("tool_use_id");
    if (fields.error()) return *fields.error();
    auto text = texts_.read(fields.any("content"));
    if (!text) return text.error();
    // A server's result stands in the model's own message, between the call and what it says then.
    if (role_ == "assistant") {
      finish();
      begin();
    }
    Json message = Json::object();
    message["role"] = "tool";
    message["content"] = std::move(*text);
    message["tool_call_id"] = id;
    if (const auto name = names_.find(id); name != names_.end()) message["tool_name"] = name->second;
    messages_.push_back(std::move(message));
    return {};
  }

  Warnings& warnings_;
  TextReader texts_;
  JsonReader arguments_{kBodyBounds};
  Json messages_ = Json::array();
  std::string role_;
  Json own_;
  std::string text_;
  std::unordered_map<std::string, std::string> names_;  // of the tools, by the call's id
};

struct Tools {
  Json native = Json::array();
  std::set<std::string> left_out;  // names
};

Result<Tools> read_tools(const Json& list, Warnings& warnings) {
  Tools tools;
  for (const Json& tool : list) {
    if (!tool.is_object()) return invalid("a tool must be an object");
    Fields fields(tool, "Tool");
    const std::string type = fields.text("type");
    const std::string name = fields.text("name");
    std::string description = fields.text("description");
    const Json* schema = fields.object("input_schema");
    if (fields.error()) return *fields.error();
    if (is_hosted(type)) {
      warnings.add(fmt::format("tools of the type \"{}\" are left out: only Anthropic's servers have them", type));
      tools.left_out.insert(name);
      continue;
    }
    if (!type.empty() && type != "custom" && description.empty()) {
      description = fmt::format("Anthropic's tool \"{}\", as its documentation of {} describes it.", name, type);
    }
    Json entry = Json::object();
    entry["type"] = "function";
    entry["function"]["name"] = name;
    entry["function"]["description"] = std::move(description);
    entry["function"]["parameters"] = schema != nullptr ? *schema : Json::object();
    if (fields.flag("strict").value_or(false)) entry["function"]["strict"] = true;
    if (fields.error()) return *fields.error();
    tools.native.push_back(std::move(entry));
  }
  return tools;
}

Result<Json> read_tool_choice(const Json& choice) {
  Fields fields(choice, "ToolChoice");
  const std::string type = fields.text("type");
  const std::string name = fields.text("name");
  if (fields.error()) return *fields.error();
  if (type == "auto" || type == "none") return Json(type);
  if (type == "any") return Json("required");
  if (type != "tool") return invalid(fmt::format("invalid tool_choice type: \"{}\"", type));
  Json named = Json::object();
  named["type"] = "function";
  named["function"]["name"] = name;
  return named;
}

std::string folded(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// Thinking and effort, as Ollama reads them: "adaptive" is left to the model's default, or to the effort.
Result<void> read_output_config(Fields& fields, Json& native) {
  if (const Json* config = fields.object("output_config")) {
    Fields inner(*config, "OutputConfig");
    const std::string effort = folded(inner.text("effort"));
    if (is_think_level(effort)) native["think"] = effort;
    if (effort == "xhigh" || effort == "ultra") native["think"] = "max";
    if (const Json* format = inner.object("format")) {
      Fields format_fields(*format, "OutputFormat");
      const Json* schema = format_fields.object("schema");
      if (format_fields.text("type") != "json_schema" || schema == nullptr) {
        return invalid("output_config.format must be of the type json_schema, with a schema");
      }
      native["format"] = *schema;
    }
    if (inner.error()) return *inner.error();
  }
  if (const Json* thinking = fields.object("thinking")) {
    Fields inner(*thinking, "ThinkingConfig");
    const std::string type = inner.text("type");
    if (inner.error()) return *inner.error();
    if (type == "enabled") native["think"] = true;
    if (type == "disabled") native["think"] = false;
  } else if (!native.contains("think")) {
    native["think"] = false;  // in this API who does not ask for thinking gets text alone
  }
  return {};
}

Json read_options(Fields& fields) {
  Json options = Json::object();
  if (const auto most = fields.integer("max_tokens")) options["num_predict"] = *most;
  if (const auto temperature = fields.number("temperature")) options["temperature"] = *temperature;
  if (const auto top_p = fields.number("top_p")) options["top_p"] = *top_p;
  if (const auto top_k = fields.integer("top_k")) options["top_k"] = *top_k;
  if (const auto stops = fields.texts("stop_sequences"); !stops.empty()) options["stop"] = stops;
  return options;
}

Result<Json> read_messages(Fields& fields, Warnings& warnings) {
  const Json* messages = fields.array("messages");
  if (messages == nullptr || messages->empty()) return invalid("messages is required");
  MessageReader reader(warnings);
  if (auto system = reader.read_system(fields.any("system")); !system) return system.error();
  for (const Json& message : *messages) {
    if (auto read = reader.read(message); !read) return read.error();
  }
  Json native = reader.take();
  if (native.empty()) return invalid("messages is required");
  return native;
}

// The tools, and which of them is to be called. A wish for one that was left out is none.
Result<void> add_tools(const Json& list, const Json* choice, Json& native, Warnings& warnings) {
  auto tools = read_tools(list, warnings);
  if (!tools) return tools.error();
  const bool any_left = !tools->native.empty();
  if (any_left) native["tools"] = std::move(tools->native);
  if (choice == nullptr) return {};
  if (const auto one = choice->find("disable_parallel_tool_use"); one != choice->end() && *one == true) {
    native["parallel_tool_calls"] = false;
  }
  auto read = read_tool_choice(*choice);
  if (!read) return read.error();
  const bool chosen_left = tools->left_out.count(text_member(*choice, "name")) == 0;
  if (any_left && chosen_left) native["tool_choice"] = std::move(*read);
  return {};
}

// What a message and its count have in common.
Result<Json> read_common(Fields& fields, Warnings& warnings) {
  Json native = Json::object();
  native["model"] = fields.text("model");
  native["options"] = read_options(fields);
  if (auto config = read_output_config(fields, native); !config) return config.error();
  auto messages = read_messages(fields, warnings);
  const Json* tools = fields.array("tools");
  const Json* choice = fields.object("tool_choice");
  if (fields.error()) return *fields.error();
  if (!messages) return messages.error();
  native["messages"] = std::move(*messages);
  const Json none = Json::array();
  if (auto added = add_tools(tools != nullptr ? *tools : none, choice, native, warnings); !added) return added.error();
  return native;
}

}  // namespace

Result<Translated> translate_anthropic_message(Json body) {
  Fields fields(body, "MessagesRequest");
  const std::string model = fields.text("model");
  const std::int64_t tokens_max = fields.integer("max_tokens").value_or(0);
  const bool stream = fields.flag("stream").value_or(false);
  if (fields.error()) return *fields.error();
  if (model.empty()) return invalid("model is required");
  if (tokens_max <= 0) return invalid("max_tokens is required and must be positive");
  Warnings warnings;
  auto native = read_common(fields, warnings);
  if (!native) return native.error();
  (*native)["stream"] = stream;
  return Translated{std::move(*native), make_anthropic_message_form(model), ThinkRule::kIgnore, std::move(warnings)};
}

Result<Translated> translate_anthropic_count(Json body) {
  Fields fields(body, "CountTokensRequest");
  Warnings warnings;
  auto native = read_common(fields, warnings);
  if (!native) return native.error();
  (*native)["stream"] = false;
  (*native)["truncate"] = false;
  (*native)["_debug_render_only"] = true;
  return Translated{std::move(*native), make_anthropic_count_form(), ThinkRule::kIgnore, std::move(warnings)};
}

}  // namespace drover::api
