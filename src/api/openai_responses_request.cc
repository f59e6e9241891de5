// /v1/responses: a list of items instead of messages. Nothing is kept between two requests: a client sends the whole
// conversation each time.
#include <fmt/format.h>

#include <unordered_map>

#include "api/openai_request.h"
#include "api/openai_responses_answer.h"

namespace drover::api {
namespace {

// Turns items into messages: a thought belongs to the assistant's message after it, calls to the one before.
class ItemReader {
 public:
  Result<void> read(const Json& item) {
    if (!item.is_object()) return invalid("an input item must be an object");
    Fields fields(item, "ResponsesInputItem");
    std::string type = fields.text("type");
    const std::string role = fields.text("role");
    if (fields.error()) return *fields.error();
    if (type.empty() && !role.empty()) type = "message";
    if (type == "message") return read_message(fields, role);
    if (type == "function_call") return read_call(fields);
    if (type == "function_call_output") return read_output(fields);
    if (type == "reasoning") return read_reasoning(fields);
    if (type.empty()) return invalid("input item missing required 'type' field");
    return invalid(fmt::format("unknown input item type: \"{}\"", type));
  }

  Json take() { return std::move(messages_); }

  void add(const char* role, std::string content) {
    Json message = Json::object();
    message["role"] = role;
    message["content"] = std::move(content);
    messages_.push_back(std::move(message));
  }

 private:
  Result<void> read_message(Fields& fields, const std::string& role) {
    const Json* content = fields.any("content");
    auto text = content != nullptr ? read_openai_content(*content) : Result<std::string>(std::string());
    if (!text) return text.error();
    add(role == "developer" ? "system" : role.c_str(), std::move(*text));
    if (role == "assistant") take_thought();
    return {};
  }

  Result<void> read_call(Fields& fields) {
    Json call = Json::object();
    call["id"] = fields.text("call_id");
    call["function"]["name"] = fields.text("name");
    auto arguments = read_openai_arguments(fields, arguments_);
    if (!arguments) return arguments.error();
    call["function"]["arguments"] = std::move(*arguments);
    names_[call["id"].get<std::string>()] = call["function"]["name"].get<std::string>();
    if (messages_.empty() || messages_.back()["role"] != "assistant") add("assistant", "");
    messages_.back()["tool_calls"].push_back(std::move(call));
    take_thought();
    return {};
  }

  Result<void> read_output(Fields& fields) {
    const std::string id = fields.text("call_id");
    const Json* output = fields.any("output");
    if (fields.error()) return *fields.error();
    auto text = output != nullptr ? read_openai_content(*output) : Result<std::string>(std::string());
    if (!text) return text.error();
    add("tool", std::move(*text));
    messages_.back()["tool_call_id"] = id;
    if (const auto name = names_.find(id); name != names_.end()) messages_.back()["tool_name"] = name->second;
    return {};
  }

  Result<void> read_reasoning(Fields& fields) {
    thought_ = fields.text("encrypted_content");
    if (fields.error()) return *fields.error();
    return {};
  }

  void take_thought() {
    if (thought_.empty()) return;
    messages_.back()["thinking"] = std::move(thought_);
    thought_.clear();
  }

  Json messages_ = Json::array();
  std::string thought_;
  std::unordered_map<std::string, std::string> names_;  // of the functions, by the call's id
  JsonReader arguments_{kBodyBounds};
};

Result<Json> read_messages(Fields& fields) {
  ItemReader reader;
  if (std::string instructions = fields.text("instructions"); !instructions.empty()) {
    reader.add("system", std::move(instructions));
  }
  const Json* input = fields.any("input");
  if (input == nullptr) return invalid("input is required");
  if (input->is_string()) {
    reader.add("user", input->get<std::string>());
  } else if (input->is_array()) {
    std::size_t index = 0;
    for (const Json& item : *input) {
      if (auto read = reader.read(item); !read) {
        return invalid(fmt::format("input[{}]: {}", index, read.error().message));
      }
      ++index;
    }
  } else {
    return invalid("input must be a string or array");
  }
  Json messages = reader.take();
  if (messages.empty()) return invalid("input is required");
  return messages;
}

// Functions in the form that chat has them; others are what only OpenAI's own servers have.
Result<Json> read_tools(const Json& tools) {
  Json native = Json::array();
  for (const Json& tool : tools) {
    if (!tool.is_object()) return invalid("a tool must be an object");
    Fields fields(tool, "ResponsesTool");
    const std::string type = fields.text("type");
    if (type != "function") return invalid(fmt::format("tools of the type \"{}\" are not supported", type));
    Json entry = Json::object();
    entry["type"] = "function";
    entry["function"]["name"] = fields.text("name");
    entry["function"]["description"] = fields.text("description");
    const Json* parameters = fields.object("parameters");
    entry["function"]["parameters"] = parameters != nullptr ? *parameters : Json::object();
    if (fields.flag("strict").value_or(false)) entry["function"]["strict"] = true;
    if (fields.error()) return *fields.error();
    native.push_back(std::move(entry));
  }
  return native;
}

// {"type":"function","name":…} is one level flatter here than in chat.
Json chat_tool_choice(const Json& choice) {
  if (!choice.is_object() || !choice.contains("name")) return choice;
  Json chat = Json::object();
  chat["type"] = "function";
  chat["function"]["name"] = choice["name"];
  return chat;
}

void refuse_state(Fields& fields) {
  for (const char* name : {"previous_response_id", "conversation", "prompt"}) {
    if (fields.any(name) == nullptr) continue;
    fields.fail(fmt::format("{} is not supported: no responses are kept here; send the whole conversation", name));
  }
  if (fields.flag("background").value_or(false)) fields.fail("background is not supported");
}

// What a response repeats, with OpenAI's defaults.
Json echo_of(const Json& body) {
  Json echo = Json::object();
  const auto field = [&](const char* name, Json otherwise) {
    const auto found = body.find(name);
    echo[name] = found == body.end() || found->is_null() ? std::move(otherwise) : *found;
  };
  field("model", nullptr);
  echo["previous_response_id"] = nullptr;
  field("instructions", nullptr);
  field("tools", Json::array());
  field("tool_choice", "auto");
  field("truncation", "disabled");
  field("parallel_tool_calls", true);
  field("text", Json{{"format", Json{{"type", "text"}}}});
  field("top_p", kOpenaiTopP);
  field("temperature", kOpenaiTemperature);
  field("reasoning", nullptr);
  field("max_output_tokens", nullptr);
  echo["max_tool_calls"] = nullptr;
  echo["store"] = false;
  echo["background"] = false;
  echo["service_tier"] = "default";
  field("metadata", Json::object());
  return echo;
}

// The parts of a body that are objects of their own: text.format and reasoning.effort.
Result<void> read_nested(Fields& fields, Json& native) {
  if (const Json* text = fields.object("text")) {
    Fields inner(*text, "ResponsesText");
    if (const Json* format = inner.object("format")) {
      auto read = read_openai_format(*format);
      if (!read) return read.error();
      native["format"] = std::move(*read);
      if (is_strict_format(*format)) native["format_strict"] = true;
    }
    if (inner.error()) return *inner.error();
  }
  if (const Json* reasoning = fields.object("reasoning")) {
    Fields inner(*reasoning, "ResponsesReasoning");
    auto think = think_of_effort(inner.text("effort"));
    if (inner.error()) return *inner.error();
    if (!think) return think.error();
    native["think"] = std::move(*think);
  }
  return {};
}

}  // namespace

Result<Translated> translate_openai_response(Json body) {
  Fields fields(body, "ResponsesRequest");
  refuse_state(fields);
  Json native = Json::object();
  native["model"] = fields.text("model");
  native["stream"] = fields.flag("stream").value_or(false);
  native["options"] = read_openai_options(fields, "max_output_tokens");
  if (auto nested = read_nested(fields, native); !nested) return nested.error();
  const Json* tools = fields.array("tools");
  auto messages = read_messages(fields);
  if (fields.error()) return *fields.error();
  if (!messages) return messages.error();
  native["messages"] = std::move(*messages);
  if (tools != nullptr) {
    auto read = read_tools(*tools);
    if (!read) return read.error();
    native["tools"] = std::move(*read);
  }
  if (const Json* choice = fields.any("tool_choice")) native["tool_choice"] = chat_tool_choice(*choice);
  for (const char* name : {"keep_alive", "_debug_render_only"}) take_over(body, name, native);
  return Translated{std::move(native), make_openai_response_form(echo_of(body)), ThinkRule::kRefuse};
}

}  // namespace drover::api
