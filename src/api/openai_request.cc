#include "api/openai_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "api/call_arguments.h"
#include "api/openai_answer.h"
#include "api/openai_functions.h"
#include "api/openai_tools.h"
#include "store/parameters.h"

namespace drover::api {
namespace {

constexpr std::int64_t kCompletionLogprobsMax = 20;

// Fields that mean natively what they mean here.
constexpr const char* kNative[] = {"keep_alive", "truncate", "shift", "parallel_tool_calls", "_debug_render_only"};

// What is read of a body, beside the names of options.
constexpr std::string_view kChatFields =
    " model user messages stream stream_options max_tokens max_completion_tokens n_predict n best_of echo"
    " logprobs top_logprobs response_format json_schema guided_json guided_choice structured_outputs tools"
    " tool_choice parallel_tool_calls reasoning reasoning_effort think include_reasoning chat_template_kwargs"
    " repetition_penalty options keep_alive truncate shift _debug_render_only"
    " enable_thinking thinking prediction prompt_cache_key prompt_cache_retention safety_identifier ";
constexpr std::string_view kCompletionFields =
    " model user prompt suffix stream stream_options max_tokens n_predict n best_of echo logprobs"
    " response_format json_schema guided_json guided_choice structured_outputs repetition_penalty options"
    " keep_alive truncate shift _debug_render_only ";

// What the calls of the conversation so far have in common.
struct Calls {
  Warnings& warnings;
  std::unordered_map<std::string, std::string> names;  // of the tools, by the call's id
  JsonReader arguments{kBodyBounds};
};

Error wrong_content() {
  return invalid("invalid message format");
}

bool is_text_part(std::string_view type) {
  return type == "text" || type == "input_text" || type == "output_text" || type == "refusal";
}

// What a question holds beside text is what it is about: without it the answer would be a wrong one.
Error unread_part(std::string_view type) {
  if (type == "image_url" || type == "input_image") return invalid("image input is not supported yet");
  if (type == "input_audio" || type == "audio") return invalid("audio input is not supported yet");
  if (type == "file" || type == "input_file") return invalid("file inputs are not currently supported");
  if (type.empty()) return wrong_content();
  return invalid(fmt::format("content parts of the type \"{}\" are not supported", type));
}

Result<std::string> read_part(const Json& part, ContentOf of, Warnings& warnings) {
  if (!part.is_object()) return wrong_content();
  const std::string type = part.contains("type") && part["type"].is_string() ? part["type"].get<std::string>() : "";
  if (!is_text_part(type)) {
    if (of == ContentOf::kQuestion) return unread_part(type);
    warnings.add(fmt::format("content parts of the type \"{}\" are left out", type));
    // A result that is nothing but an image would say that there was none.
    const bool image = type == "image_url" || type == "input_image" || type == "image";
    return std::string(image ? "[an image, which is not shown to the model]" : "");
  }
  const auto text = part.find(type == "refusal" ? "refusal" : "text");
  if (text == part.end() || !text->is_string()) return wrong_content();
  return text->get<std::string>();
}

Result<Json> read_calls(const Json& calls, Calls& known) {
  Json native = Json::array();
  for (const Json& call : calls) {
    if (!call.is_object()) return invalid("invalid tool call");
    Fields fields(call, "ToolCall");
    Json entry = Json::object();
    entry["id"] = fields.text("id");
    if (const Json* custom = fields.object("custom")) {
      Fields custom_fields(*custom, "ToolCall.custom");
      entry["function"]["name"] = custom_fields.text("name");
      entry["function"]["arguments"] = custom_arguments(custom_fields.text("input"));
      if (custom_fields.error()) return *custom_fields.error();
    } else {
      const Json* function = fields.object("function");
      if (function == nullptr) return fields.error() ? *fields.error() : invalid("invalid tool call");
      Fields function_fields(*function, "ToolCall.function");
      entry["function"]["name"] = function_fields.text("name");
      auto arguments = call_arguments(function_fields.any("arguments"), known.arguments, known.warnings);
      if (!arguments) return arguments.error();
      entry["function"]["arguments"] = std::move(*arguments);
    }
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
  std::string refusal = fields.text("refusal");
  std::string name = fields.text("name");
  if (fields.error()) return *fields.error();
  // An answer may be nothing but calls, or a refusal, and a result nothing at all.
  const ContentOf of = role == "assistant" ? ContentOf::kAnswer
                       : role == "tool"    ? ContentOf::kResult
                                           : ContentOf::kQuestion;
  if (content == nullptr && of == ContentOf::kQuestion) return invalid("invalid message content type: <nil>");
  auto text = read_openai_content(content, of, known.warnings);
  if (!text) return text.error();
  if (text->empty()) *text = std::move(refusal);
  native["content"] = std::move(*text);
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
  const auto modalities = fields.texts("modalities");
  if (std::find(modalities.begin(), modalities.end(), "audio") != modalities.end()) {
    fields.fail("audio output is not supported");
  }
}

Result<std::string> read_prompt(Fields& fields) {
  const Json* prompt = fields.any("prompt");
  if (prompt == nullptr) return std::string();
  if (prompt->is_string()) return prompt->get<std::string>();
  const bool one = prompt->is_array() && prompt->size() == 1 && prompt->front().is_string();
  if (!one) return invalid("prompt must be one string: lists of prompts and of tokens are not supported");
  return prompt->front().get<std::string>();
}

bool wants_usage(Fields& fields, Warnings& warnings) {
  const Json* options = fields.object("stream_options");
  if (options == nullptr) return false;
  Fields inner(*options, "StreamOptions");
  const bool wanted = inner.flag("include_usage").value_or(false);
  if (inner.flag("continuous_usage_stats").value_or(false)) warnings.add("continuous_usage_stats is ignored");
  if (inner.error()) fields.fail(inner.error()->message);
  return wanted;
}

// The wish to think, and whether the answer shows the thoughts.
struct Thinking {
  Json wish;  // as natively; null: none
  ThinkRule rule = ThinkRule::kRefuse;
  bool shown = true;
};

// reasoning.enabled and .exclude are OpenRouter's.
void read_reasoning(const Json& reasoning, std::string& effort, Thinking& thinking, Fields& fields,
                    Warnings& warnings) {
  Fields inner(reasoning, "Reasoning");
  if (std::string inner_effort = inner.text("effort"); !inner_effort.empty()) effort = std::move(inner_effort);
  if (const auto enabled = inner.flag("enabled")) thinking.wish = *enabled;
  if (inner.flag("exclude").value_or(false)) thinking.shown = false;
  if (inner.any("max_tokens") != nullptr) warnings.add("reasoning.max_tokens is ignored");
  if (inner.error()) fields.fail(inner.error()->message);
}

// vLLM's and llama-server's way to hand variables to the template. A model without a switch ignores it, as there.
void read_template_arguments(const Json& arguments, std::string& effort, Thinking& thinking, Warnings& warnings) {
  for (const auto& [name, value] : arguments.items()) {
    const bool is_switch = name == "enable_thinking" || name == "thinking";
    if (is_switch && value.is_boolean()) {
      thinking.wish = value;
      thinking.rule = ThinkRule::kIgnore;
    } else if (name == "reasoning_effort" && value.is_string()) {
      effort = value.get<std::string>();
    } else if (!value.is_null()) {
      warnings.add(fmt::format("chat_template_kwargs.{} is ignored", name));
    }
  }
}

// What is said in OpenAI's own words counts before what is said in others'.
Result<Thinking> read_thinking(Fields& fields, Warnings& warnings) {
  Thinking thinking;
  std::string effort;
  if (const Json* arguments = fields.object("chat_template_kwargs")) {
    read_template_arguments(*arguments, effort, thinking, warnings);
  }
  // Qwen's own servers have the switch at the top level; GLM's and DeepSeek's have Anthropic's object.
  if (const auto enabled = fields.flag("enable_thinking")) {
    thinking.wish = *enabled;
    thinking.rule = ThinkRule::kIgnore;
  }
  if (const Json* given = fields.object("thinking")) {
    Fields inner(*given, "Thinking");
    const std::string type = inner.text("type");
    if (inner.error()) return *inner.error();
    if (type == "enabled" || type == "disabled") thinking.wish = type == "enabled";
    thinking.rule = ThinkRule::kIgnore;
  }
  if (const Json* think = fields.any("think")) {
    thinking.wish = *think;
    thinking.rule = ThinkRule::kRefuse;
  }
  if (std::string given = fields.text("reasoning_effort"); !given.empty()) effort = std::move(given);
  if (const Json* reasoning = fields.object("reasoning")) {
    read_reasoning(*reasoning, effort, thinking, fields, warnings);
  }
  if (!fields.flag("include_reasoning").value_or(true)) thinking.shown = false;
  if (fields.error()) return *fields.error();
  if (effort.empty()) return thinking;
  auto level = think_of_effort(effort);
  if (!level) return level.error();
  thinking.wish = std::move(*level);
  thinking.rule = ThinkRule::kRefuse;
  return thinking;
}

// What is to be kept to in the answer: `format` as natively, and whether the answer is the text in the JSON string that
// comes out.
struct Constraint {
  Json format;
  bool unquote = false;
  bool strict = false;  // all of the schema has to be kept
};

Result<Json> read_guided_schema(const Json& given, const char* name) {
  if (given.is_object()) return given;
  Json schema;
  if (given.is_string() && !JsonReader(kBodyBounds).read(given.get_ref<const std::string&>(), schema) &&
      schema.is_object()) {
    return schema;
  }
  return invalid(fmt::format("{} must be a JSON schema, which is an object", name));
}

Result<Json> read_guided_choice(const Json& given, const char* name) {
  const auto is_text = [](const Json& choice) { return choice.is_string(); };
  if (!given.is_array() || given.empty() || !std::all_of(given.begin(), given.end(), is_text)) {
    return invalid(fmt::format("{} must be a list of texts", name));
  }
  Json schema = Json::object();
  schema["enum"] = given;
  return schema;
}

// vLLM's `structured_outputs`, and the names for the same that it and llama-server have at the top level. Others than
// these (grammars, regular expressions) are named in warnings.
Result<Constraint> read_constraint(Fields& fields, Warnings& warnings) {
  Constraint constraint;
  int given = 0;
  std::optional<Error> error;
  const auto take = [&](const Json* value, const char* name, auto read) {
    if (value == nullptr || error) return;
    Result<Json> format = read(*value, name);
    if (!format) {
      error = format.error();
    } else if (!format->is_null()) {
      constraint.format = std::move(*format);
      ++given;
    }
  };
  const auto choice = [&](const Json* value, const char* name) {
    take(value, name, read_guided_choice);
    if (value != nullptr) constraint.unquote = true;
  };
  take(fields.object("response_format"), "response_format", [&constraint](const Json& format, const char*) {
    constraint.strict = is_strict_format(format);
    return read_openai_format(format);
  });
  take(fields.any("json_schema"), "json_schema", read_guided_schema);
  take(fields.any("guided_json"), "guided_json", read_guided_schema);
  choice(fields.any("guided_choice"), "guided_choice");
  if (const Json* outputs = fields.object("structured_outputs")) {
    Fields inner(*outputs, "StructuredOutputs");
    take(inner.any("json"), "structured_outputs.json", read_guided_schema);
    choice(inner.any("choice"), "structured_outputs.choice");
    if (inner.flag("json_object").value_or(false)) {
      constraint.format = "json";
      ++given;
    }
    if (inner.error()) return *inner.error();
    for (const auto& [name, value] : outputs->items()) {
      const bool heeded = name == "json" || name == "choice" || name == "json_object";
      if (!heeded && !value.is_null()) warnings.add(fmt::format("structured_outputs.{} is ignored", name));
    }
  }
  if (error) return *error;
  if (fields.error()) return *fields.error();
  if (given > 1)
    return invalid(
        "only one of response_format, json_schema, guided_json, guided_choice and structured_outputs can be kept");
  return constraint;
}

void keep_to(Constraint constraint, Json& native, OpenaiAsk& ask) {
  native["format"] = std::move(constraint.format);
  native["format_strict"] = constraint.strict;
  ask.unquote = constraint.unquote;
}

// Whether a field's value is one that asks for nothing.
bool is_idle(std::string_view name, const Json& value) {
  static const std::pair<std::string_view, Json> kDefaults[] = {
      {"skip_special_tokens", true},   {"spaces_between_special_tokens", true},
      {"add_generation_prompt", true}, {"cache_prompt", true},
      {"service_tier", "auto"},        {"service_tier", "default"},
      {"verbosity", "medium"},         {"modalities", Json::array({"text"})}};
  bool has_default = false;
  for (const auto& [of, otherwise] : kDefaults) {
    if (of == name && value == otherwise) return true;
    has_default = has_default || of == name;
  }
  if (has_default) return value.is_null();
  if (value.is_number()) return value == 0;
  if (value.is_string()) return value == "";
  return value.is_null() || value == false || (value.is_structured() && value.empty());
}

}  // namespace

Json read_openai_options(const Json& body, Fields& fields, const char* tokens_max_name) {
  const Json* given = fields.object("options");
  Json options = given != nullptr ? *given : Json::object();
  // vLLM's name, and llama-server's
  if (const Json* value = fields.any("repetition_penalty")) options["repeat_penalty"] = *value;
  if (const Json* value = fields.any("n_predict")) options["num_predict"] = *value;
  for (const auto& [name, value] : body.items()) {
    if (name != "stop" && !value.is_null() && find_parameter(name)) options[name] = value;
  }
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

void name_ignored(const Json& body, std::string_view heeded, Warnings& warnings) {
  for (const auto& [name, value] : body.items()) {
    if (is_idle(name, value) || find_parameter(name)) continue;
    if (heeded.find(fmt::format(" {} ", name)) == std::string_view::npos)
      warnings.add(fmt::format("{} is ignored", name));
  }
}

void take_over(const Json& body, const char* name, Json& native) {
  const auto found = body.find(name);
  if (found != body.end() && !found->is_null()) native[name] = *found;
}

Result<Json> think_of_effort(const std::string& effort) {
  if (effort.empty()) return Json(nullptr);
  if (effort == "none") return Json(false);
  if (effort == "minimal") return Json("low");
  if (effort == "xhigh" || effort == "ultra") return Json("max");
  if (is_think_level(effort)) return Json(effort);
  return invalid(fmt::format(
      "invalid reasoning value: '{}' (must be \"high\", \"medium\", \"low\", \"max\", or \"none\")", effort));
}

Result<Json> read_openai_format(const Json& format) {
  Fields fields(format, "ResponseFormat");
  const std::string type = fields.text("type");
  if (fields.error()) return *fields.error();
  if (type.empty() || type == "text") return Json(nullptr);
  // With a schema beside it, as llama-server and others have it.
  if (type == "json_object") {
    const Json* schema = fields.object("schema");
    if (fields.error()) return *fields.error();
    return schema != nullptr ? *schema : Json("json");
  }
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

Result<std::string> read_openai_content(const Json* content, ContentOf of, Warnings& warnings) {
  if (content == nullptr) return std::string();
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) {
    // Programs hand on what their tools gave.
    if (of == ContentOf::kResult) return to_text(*content);
    return invalid(fmt::format("invalid message content type: {}", content->type_name()));
  }
  std::string text;
  for (const Json& part : *content) {
    auto read = read_part(part, of, warnings);
    if (!read) return read;
    if (&part != &content->front()) text += '\n';
    text += *read;
  }
  return text;
}

Result<Translated> translate_openai_chat(Json body) {
  OpenaiAsk ask;
  ask.old_functions = functions_to_tools(body);
  Fields fields(body, "ChatCompletionRequest");
  Warnings warnings;
  ask.model = fields.text("model");
  ask.include_usage = wants_usage(fields, warnings);
  const Json* messages = fields.array("messages");
  if (messages == nullptr || messages->empty()) fields.fail("[] is too short - 'messages'");
  refuse_missing(fields);

  Json native = Json::object();
  native["model"] = ask.model;
  native["stream"] = fields.flag("stream").value_or(false);
  const bool completion_tokens = fields.any("max_completion_tokens") != nullptr;
  native["options"] = read_openai_options(body, fields, completion_tokens ? "max_completion_tokens" : "max_tokens");
  native["logprobs"] = ask.logprobs = fields.flag("logprobs").value_or(false);
  if (const auto top = fields.integer("top_logprobs")) native["top_logprobs"] = *top;
  const Json* tools = fields.array("tools");
  auto thinking = read_thinking(fields, warnings);
  if (!thinking) return thinking.error();
  native["think"] = std::move(thinking->wish);
  ask.hide_reasoning = !thinking->shown;
  auto constraint = read_constraint(fields, warnings);
  if (!constraint) return constraint.error();
  keep_to(std::move(*constraint), native, ask);
  if (tools != nullptr) {
    if (auto read = ask.tools.read(*tools, warnings); !read) return read.error();
    if (const Json* choice = fields.any("tool_choice")) {
      auto chosen = ask.tools.choose(*choice);
      if (!chosen) return chosen.error();
      native["tool_choice"] = std::move(*chosen);
    }
    native["tools"] = ask.tools.take_functions();
  }
  Calls calls{warnings, {}};
  Json& list = native["messages"] = Json::array();
  for (const Json& message : *messages) {
    auto read = read_message(message, calls);
    if (!read) return read.error();
    list.push_back(std::move(*read));
  }
  for (const char* name : kNative) take_over(body, name, native);
  name_ignored(body, kChatFields, warnings);
  return Translated{std::move(native), make_openai_chat_form(std::move(ask)), thinking->rule, std::move(warnings)};
}

Result<Translated> translate_openai_completion(Json body) {
  Fields fields(body, "CompletionRequest");
  Warnings warnings;
  OpenaiAsk ask;
  ask.model = fields.text("model");
  ask.include_usage = wants_usage(fields, warnings);
  refuse_missing(fields);
  Json native = Json::object();
  native["model"] = ask.model;
  native["stream"] = fields.flag("stream").value_or(false);
  native["options"] = read_openai_options(body, fields, "max_tokens");
  native["think"] = false;  // the answer has no place for a thought
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
  auto constraint = read_constraint(fields, warnings);
  if (!constraint) return constraint.error();
  keep_to(std::move(*constraint), native, ask);
  for (const char* name : kNative) take_over(body, name, native);
  name_ignored(body, kCompletionFields, warnings);
  return Translated{std::move(native), make_openai_completion_form(std::move(ask)), ThinkRule::kRefuse,
                    std::move(warnings)};
}

}  // namespace drover::api
