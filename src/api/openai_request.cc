#include "api/openai_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "api/openai_answer.h"

namespace drover::api {
namespace {

constexpr std::int64_t kCompletionLogprobsMax = 20;

// What the calls of the conversation so far have in common.
struct Calls {
  std::unordered_map<std::string, std::string> names;  // of the tools, by the call's id
  JsonReader arguments{kBodyBounds};
};

Error wrong_content() {
  return invalid("invalid message format");
}

Result<std::string> read_part(const Json& part) {
  if (!part.is_object()) return wrong_content();
  const std::string type = part.contains("type") && part["type"].is_string() ? part["type"].get<std::string>() : "";
  if (type == "image_url" || type == "input_image") return invalid("image input is not supported yet");
  if (type == "input_audio" || type == "audio") return invalid("audio input is not supported yet");
  if (type == "file" || type == "input_file") return invalid("file inputs are not currently supported");
  const char* field = type == "refusal" ? "refusal" : "text";
  if (type != "text" && type != "input_text" && type != "output_text" && type != "refusal") return wrong_content();
  const auto text = part.find(field);
  if (text == part.end() || !text->is_string()) return wrong_content();
  return text->get<std::string>();
}

Result<Json> read_calls(const Json& calls, Calls& known) {
  Json native = Json::array();
  for (const Json& call : calls) {
    if (!call.is_object()) return invalid("invalid tool call");
    Fields fields(call, "ToolCall");
    const Json* function = fields.object("function");
    if (function == nullptr) return fields.error() ? *fields.error() : invalid("invalid tool call");
    Fields function_fields(*function, "ToolCall.function");
    Json entry = Json::object();
    entry["id"] = fields.text("id");
    entry["function"]["name"] = function_fields.text("name");
    auto arguments = read_openai_arguments(function_fields, known.arguments);
    if (!arguments) return arguments.error();
    entry["function"]["arguments"] = std::move(*arguments);
    if (fields.error()) return *fields.error();
    known.names[entry["id"].get<std::string>()] = entry["function"]["name"].get<std::string>();
    native.push_back(std::move(entry));
  }
  return native;
}

Result<Json> read_message(const Json& message, Calls& known) {
  if (!message.is_object()) return wrong_content();
  Fields fields(message, "Message");
  Json native = Json::object();
  std::string role = fields.text("role");
  if (role == "developer") role = "system";
  native["role"] = role;
  std::string thinking = fields.text("reasoning");
  if (thinking.empty()) thinking = fields.text("reasoning_content");
  const Json* content = fields.any("content");
  const Json* calls = fields.array("tool_calls");
  const std::string call_id = fields.text("tool_call_id");
  std::string name = fields.text("name");
  if (fields.error()) return *fields.error();
  if (content != nullptr) {
    auto text = read_openai_content(*content);
    if (!text) return text.error();
    native["content"] = std::move(*text);
  } else if (calls == nullptr) {
    return invalid("invalid message content type: <nil>");
  }
  if (!thinking.empty()) native["thinking"] = std::move(thinking);
  if (calls != nullptr) {
    auto read = read_calls(*calls, known);
    if (!read) return read.error();
    native["tool_calls"] = std::move(*read);
  }
  if (role == "tool") {
    if (name.empty() && known.names.count(call_id) > 0) name = known.names[call_id];
    native["tool_name"] = std::move(name);
    native["tool_call_id"] = call_id;
  }
  return native;
}

// What would have to be in the answer and would not be there.
void refuse_missing(Fields& fields) {
  if (fields.integer("n").value_or(1) > 1) fields.fail("n must be 1: more than one choice is not supported");
  if (fields.integer("best_of").value_or(1) > 1) fields.fail("best_of is not supported");
  if (fields.flag("echo").value_or(false)) fields.fail("echo is not supported");
}

Result<std::string> read_prompt(Fields& fields) {
  const Json* prompt = fields.any("prompt");
  if (prompt == nullptr) return std::string();
  if (prompt->is_string()) return prompt->get<std::string>();
  const bool one = prompt->is_array() && prompt->size() == 1 && prompt->front().is_string();
  if (!one) return invalid("prompt must be one string: lists of prompts and of tokens are not supported");
  return prompt->front().get<std::string>();
}

bool wants_usage(Fields& fields) {
  const Json* options = fields.object("stream_options");
  if (options == nullptr) return false;
  Fields inner(*options, "StreamOptions");
  const bool wanted = inner.flag("include_usage").value_or(false);
  if (inner.error()) fields.fail(inner.error()->message);
  return wanted;
}

Result<Json> read_think(Fields& fields) {
  std::string effort = fields.text("reasoning_effort");
  if (const Json* reasoning = fields.object("reasoning")) {
    Fields inner(*reasoning, "Reasoning");
    effort = inner.text("effort");
    if (inner.error()) fields.fail(inner.error()->message);
  }
  return think_of_effort(effort);
}

}  // namespace

Json read_openai_options(Fields& fields, const char* tokens_max_name) {
  const Json* given = fields.object("options");
  Json options = given != nullptr ? *given : Json::object();
  options["temperature"] = fields.number("temperature").value_or(kOpenaiTemperature);
  options["top_p"] = fields.number("top_p").value_or(kOpenaiTopP);
  if (const auto most = fields.integer(tokens_max_name)) options["num_predict"] = *most;
  if (const auto seed = fields.integer("seed")) options["seed"] = *seed;
  for (const char* name : {"frequency_penalty", "presence_penalty"}) {
    if (const auto value = fields.number(name)) options[name] = *value;
  }
  if (fields.any("stop") != nullptr) options["stop"] = fields.text_or_texts("stop");
  return options;
}

void take_over(const Json& body, const char* name, Json& native) {
  const auto found = body.find(name);
  if (found != body.end() && !found->is_null()) native[name] = *found;
}

Result<Json> think_of_effort(const std::string& effort) {
  if (effort.empty()) return Json(nullptr);
  if (effort == "none") return Json(false);
  if (effort == "minimal") return Json("low");
  if (effort == "xhigh") return Json("max");
  if (effort == "low" || effort == "medium" || effort == "high" || effort == "max") return Json(effort);
  return invalid(fmt::format(
      "invalid reasoning value: '{}' (must be \"high\", \"medium\", \"low\", \"max\", or \"none\")", effort));
}

Result<Json> read_openai_format(const Json& format) {
  Fields fields(format, "ResponseFormat");
  const std::string type = fields.text("type");
  if (fields.error()) return *fields.error();
  if (type.empty() || type == "text") return Json(nullptr);
  if (type == "json_object") return Json("json");
  if (type != "json_schema") {
    return invalid(fmt::format("invalid response_format type: '{}' (must be text, json_object or json_schema)", type));
  }
  const Json* nested = fields.object("json_schema");
  Fields inner(nested != nullptr ? *nested : format, "JsonSchema");
  const Json* schema = inner.object("schema");
  if (schema == nullptr) return invalid("response_format of the type json_schema needs a schema, which is an object");
  return *schema;
}

bool is_strict_format(const Json& format) {
  const auto nested = format.find("json_schema");
  const Json& holder = nested != format.end() && nested->is_object() ? *nested : format;
  const auto strict = holder.find("strict");
  return strict != holder.end() && *strict == true;
}

Result<std::string> read_openai_content(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) {
    return invalid(fmt::format("invalid message content type: {}", content.type_name()));
  }
  std::string text;
  for (const Json& part : content) {
    auto read = read_part(part);
    if (!read) return read;
    if (&part != &content.front()) text += '\n';
    text += *read;
  }
  return text;
}

Result<Json> read_openai_arguments(Fields& function, JsonReader& reader) {
  const std::string text = function.text("arguments");
  if (function.error()) return *function.error();
  Json arguments = Json::object();
  if (text.empty()) return arguments;
  const auto fault = reader.read(text, arguments);
  if (fault && fault->kind != JsonFault::Kind::kSyntax) return invalid("tool call arguments: " + fault->message);
  if (fault || !arguments.is_object()) return invalid("invalid tool call arguments");
  return arguments;
}

Result<Translated> translate_openai_chat(Json body) {
  Fields fields(body, "ChatCompletionRequest");
  OpenaiAsk ask;
  ask.model = fields.text("model");
  ask.include_usage = wants_usage(fields);
  const Json* messages = fields.array("messages");
  if (messages == nullptr || messages->empty()) fields.fail("[] is too short - 'messages'");
  refuse_missing(fields);

  Json native = Json::object();
  native["model"] = ask.model;
  native["stream"] = fields.flag("stream").value_or(false);
  const bool completion_tokens = fields.any("max_completion_tokens") != nullptr;
  native["options"] = read_openai_options(fields, completion_tokens ? "max_completion_tokens" : "max_tokens");
  native["logprobs"] = ask.logprobs = fields.flag("logprobs").value_or(false);
  if (const auto top = fields.integer("top_logprobs")) native["top_logprobs"] = *top;
  const Json* format = fields.object("response_format");
  if (const Json* tools = fields.array("tools")) native["tools"] = *tools;
  auto think = read_think(fields);
  if (fields.error()) return *fields.error();
  if (!think) return think.error();
  native["think"] = std::move(*think);
  if (format != nullptr) {
    auto read = read_openai_format(*format);
    if (!read) return read.error();
    native["format"] = std::move(*read);
    if (is_strict_format(*format)) native["format_strict"] = true;
  }
  Calls calls;
  Json& list = native["messages"] = Json::array();
  for (const Json& message : *messages) {
    auto read = read_message(message, calls);
    if (!read) return read.error();
    list.push_back(std::move(*read));
  }
  for (const char* name : {"tool_choice", "keep_alive", "truncate", "shift", "_debug_render_only"}) {
    take_over(body, name, native);
  }
  return Translated{std::move(native), make_openai_chat_form(ask), ThinkRule::kRefuse};
}

Result<Translated> translate_openai_completion(Json body) {
  Fields fields(body, "CompletionRequest");
  OpenaiAsk ask;
  ask.model = fields.text("model");
  ask.include_usage = wants_usage(fields);
  refuse_missing(fields);
  Json native = Json::object();
  native["model"] = ask.model;
  native["stream"] = fields.flag("stream").value_or(false);
  native["options"] = read_openai_options(fields, "max_tokens");
  native["suffix"] = fields.text("suffix");
  if (const auto top = fields.integer("logprobs")) {
    if (*top < 0 || *top > kCompletionLogprobsMax) fields.fail("logprobs must be between 0 and 20");
    native["logprobs"] = ask.logprobs = true;
    native["top_logprobs"] = *top;
  }
  auto prompt = read_prompt(fields);
  if (fields.error()) return *fields.error();
  if (!prompt) return prompt.error();
  native["prompt"] = std::move(*prompt);
  for (const char* name : {"keep_alive", "truncate", "shift", "_debug_render_only"}) take_over(body, name, native);
  return Translated{std::move(native), make_openai_completion_form(ask), ThinkRule::kRefuse};
}

}  // namespace drover::api
