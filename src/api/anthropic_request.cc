#include "api/anthropic_request.h"

#include <fmt/format.h>

#include <unordered_map>

#include "api/anthropic_answer.h"

namespace drover::api {
namespace {

Result<std::string> text_of_block(const Json& block, std::string_view where) {
  if (!block.is_object()) return invalid(fmt::format("{}: a content block must be an object", where));
  const std::string type = block.value("type", Json("")) == "text" ? "text" : "";
  if (type.empty()) {
    const bool image = block.value("type", Json("")) == "image";
    if (image) return invalid("image input is not supported yet");
    return invalid(fmt::format("{}: only text is supported", where));
  }
  Fields fields(block, "ContentBlock");
  std::string text = fields.text("text");
  if (fields.error()) return *fields.error();
  return text;
}

// A string, or blocks of text, which are put together as they are.
Result<std::string> read_text(const Json* content, std::string_view where) {
  if (content == nullptr) return std::string();
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) return invalid(fmt::format("{} must be a string or a list of content blocks", where));
  std::string text;
  for (const Json& block : *content) {
    auto part = text_of_block(block, where);
    if (!part) return part;
    text += *part;
  }
  return text;
}

// One message of theirs may be several of ours: tool results are messages of their own.
class MessageReader {
 public:
  Result<void> read(const Json& message) {
    if (!message.is_object()) return invalid("a message must be an object");
    Fields fields(message, "MessageParam");
    const std::string role = fields.text("role");
    const Json* content = fields.any("content");
    if (fields.error()) return *fields.error();
    if (role != "user" && role != "assistant" && role != "system") {
      return invalid(fmt::format("invalid message role: \"{}\"", role));
    }
    if (content == nullptr) return invalid("message content is required");
    own_ = Json::object();
    own_["role"] = role;
    own_["content"] = "";
    text_.clear();
    if (content->is_string()) {
      text_ = content->get<std::string>();
    } else if (!content->is_array()) {
      return invalid("message content must be a string or a list of content blocks");
    } else {
      for (const Json& block : *content) {
        if (auto read = read_block(block); !read) return read;
      }
    }
    own_["content"] = text_;
    const bool said = !text_.empty() || own_.contains("tool_calls") || own_.contains("thinking");
    if (said || content->is_string()) messages_.push_back(std::move(own_));
    return {};
  }

  Json take() { return std::move(messages_); }
  void add_system(std::string text) { messages_.push_back(Json{{"role", "system"}, {"content", std::move(text)}}); }

 private:
  Result<void> read_block(const Json& block) {
    if (!block.is_object()) return invalid("a content block must be an object");
    Fields fields(block, "ContentBlock");
    const std::string type = fields.text("type");
    if (type == "text") {
      text_ += fields.text("text");
    } else if (type == "thinking") {
      own_["thinking"] = fields.text("thinking");
    } else if (type == "tool_use") {
      return read_tool_use(fields);
    } else if (type == "tool_result") {
      return read_tool_result(fields);
    } else if (type == "image") {
      return invalid("image input is not supported yet");
    } else if (type != "redacted_thinking") {
      return invalid(fmt::format("content blocks of the type \"{}\" are not supported", type));
    }
    if (fields.error()) return *fields.error();
    return {};
  }

  Result<void> read_tool_use(Fields& fields) {
    const std::string id = fields.text("id");
    const std::string name = fields.text("name");
    const Json* input = fields.object("input");
    if (fields.error()) return *fields.error();
    if (id.empty()) return invalid("tool_use block missing required 'id' field");
    if (name.empty()) return invalid("tool_use block missing required 'name' field");
    names_[id] = name;
    Json call = Json::object();
    call["id"] = id;
    call["function"]["name"] = name;
    call["function"]["arguments"] = input != nullptr ? *input : Json::object();
    own_["tool_calls"].push_back(std::move(call));
    return {};
  }

  Result<void> read_tool_result(Fields& fields) {
    const std::string id = fields.text("tool_use_id");
    if (fields.error()) return *fields.error();
    auto text = read_text(fields.any("content"), "tool_result");
    if (!text) return text.error();
    Json message = Json::object();
    message["role"] = "tool";
    message["content"] = std::move(*text);
    message["tool_call_id"] = id;
    if (const auto name = names_.find(id); name != names_.end()) message["tool_name"] = name->second;
    messages_.push_back(std::move(message));
    return {};
  }

  Json messages_ = Json::array();
  Json own_;
  std::string text_;
  std::unordered_map<std::string, std::string> names_;  // of the tools, by the call's id
};

Result<Json> read_tools(const Json& tools) {
  Json native = Json::array();
  for (const Json& tool : tools) {
    if (!tool.is_object()) return invalid("a tool must be an object");
    Fields fields(tool, "Tool");
    const std::string type = fields.text("type");
    // Others are run by, or known to, Anthropic's own servers alone.
    if (!type.empty() && type != "custom") {
      return invalid(fmt::format("tools of the type \"{}\" are not supported", type));
    }
    Json entry = Json::object();
    entry["type"] = "function";
    entry["function"]["name"] = fields.text("name");
    entry["function"]["description"] = fields.text("description");
    const Json* schema = fields.object("input_schema");
    entry["function"]["parameters"] = schema != nullptr ? *schema : Json::object();
    if (fields.error()) return *fields.error();
    native.push_back(std::move(entry));
  }
  return native;
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

// Thinking and effort, as Ollama reads them: "adaptive" is left to the model's default, or to the effort.
Result<void> read_output_config(Fields& fields, Json& native) {
  if (const Json* config = fields.object("output_config")) {
    Fields inner(*config, "OutputConfig");
    const std::string effort = inner.text("effort");
    if (effort == "low" || effort == "medium" || effort == "high" || effort == "max") native["think"] = effort;
    if (effort == "xhigh") native["think"] = "max";
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

Result<Json> read_messages(Fields& fields) {
  const Json* messages = fields.array("messages");
  if (messages == nullptr || messages->empty()) return invalid("messages is required");
  MessageReader reader;
  auto system = read_text(fields.any("system"), "system");
  if (!system) return system.error();
  if (!system->empty()) reader.add_system(std::move(*system));
  for (const Json& message : *messages) {
    if (auto read = reader.read(message); !read) return read.error();
  }
  Json native = reader.take();
  if (native.empty()) return invalid("messages is required");
  return native;
}

// What a message and its count have in common.
Result<Json> read_common(Fields& fields) {
  Json native = Json::object();
  native["model"] = fields.text("model");
  native["options"] = read_options(fields);
  if (auto config = read_output_config(fields, native); !config) return config.error();
  auto messages = read_messages(fields);
  const Json* tools = fields.array("tools");
  const Json* choice = fields.object("tool_choice");
  if (fields.error()) return *fields.error();
  if (!messages) return messages.error();
  native["messages"] = std::move(*messages);
  if (tools != nullptr && !tools->empty()) {
    auto read = read_tools(*tools);
    if (!read) return read.error();
    native["tools"] = std::move(*read);
  }
  if (choice != nullptr) {
    auto read = read_tool_choice(*choice);
    if (!read) return read.error();
    native["tool_choice"] = std::move(*read);
  }
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
  auto native = read_common(fields);
  if (!native) return native.error();
  (*native)["stream"] = stream;
  return Translated{std::move(*native), make_anthropic_message_form(model), ThinkRule::kIgnore};
}

Result<Translated> translate_anthropic_count(Json body) {
  Fields fields(body, "CountTokensRequest");
  auto native = read_common(fields);
  if (!native) return native.error();
  (*native)["stream"] = false;
  (*native)["truncate"] = false;
  (*native)["_debug_render_only"] = true;
  return Translated{std::move(*native), make_anthropic_count_form(), ThinkRule::kIgnore};
}

}  // namespace drover::api
