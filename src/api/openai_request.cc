#include "api/openai_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "api/openai_answer.h"
#include "api/openai_functions.h"
#include "api/openai_tools.h"
#include "base/settings.h"
#include "base/text.h"
#include "store/parameters.h"

namespace drover::api {
namespace {

constexpr std::int64_t kCompletionLogprobsMax = 20;

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

Result<void> read_call(const Json& call, AskReader& reader, pb::Message& message) {
  if (!call.is_object()) return invalid("invalid tool call");
  Fields fields(call, "ToolCall");
  std::string id = fields.text("id");
  const Json* custom = fields.object("custom");
  const Json* function = custom == nullptr ? fields.object("function") : nullptr;
  if (fields.error()) return *fields.error();
  if (custom == nullptr && function == nullptr) return invalid("invalid tool call");
  Fields inner(custom != nullptr ? *custom : *function, custom != nullptr ? "ToolCall.custom" : "ToolCall.function");
  std::string name = inner.text("name");
  std::string input = custom != nullptr ? inner.text("input") : std::string();
  if (inner.error()) return *inner.error();
  if (custom == nullptr) return reader.call(message, std::move(id), std::move(name), inner.any("arguments"));
  const Json arguments = custom_arguments(std::move(input));
  return reader.call(message, std::move(id), std::move(name), &arguments);
}

// An answer may be nothing but calls, or a refusal, and a result nothing at all.
ContentOf content_of(const std::string& role) {
  if (role == "assistant") return ContentOf::kAnswer;
  return role == "tool" ? ContentOf::kResult : ContentOf::kQuestion;
}

Result<void> read_message(const Json& item, AskReader& reader, pb::Message& message) {
  if (!item.is_object()) return wrong_content();
  Fields fields(item, "Message");
  std::string role = fields.text("role");
  if (role == "developer") role = "system";
  std::string thinking = fields.text("reasoning");
  if (thinking.empty()) thinking = fields.text("reasoning_content");
  const Json* content = fields.any("content");
  const Json* calls = fields.array("tool_calls");
  const std::string call_id = fields.text("tool_call_id");
  const std::string refusal = fields.text("refusal");
  std::string name = fields.text("name");
  if (fields.error()) return *fields.error();
  const ContentOf of = content_of(role);
  if (content == nullptr && of == ContentOf::kQuestion) return invalid("invalid message content type: <nil>");
  auto text = read_openai_content(content, of, reader.warnings());
  if (!text) return std::move(text).error();
  message.set_content(text->empty() ? refusal : std::move(*text));
  message.set_thinking(std::move(thinking));
  if (calls != nullptr) {
    for (const Json& call : *calls) {
      if (auto read = read_call(call, reader, message); !read) return read;
    }
  }
  if (role == "tool") {
    message.set_tool_name(name.empty() ? reader.called(call_id) : std::move(name));
    message.set_tool_call_id(call_id);
  }
  message.set_role(lower_case(role));
  return {};
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

// What a body says of thinking.
struct Reasoning {
  std::string effort;
  bool shown = true;  // the answer shows the thoughts
};

void set_think(bool wanted, ThinkRule rule, Ask& ask) {
  ask.think = think_of(wanted);
  ask.think.rule = rule;
}

// reasoning.enabled and .exclude are OpenRouter's.
void read_reasoning(const Json& given, Fields& fields, Ask& ask, Reasoning& reasoning) {
  Fields inner(given, "Reasoning");
  if (std::string effort = inner.text("effort"); !effort.empty()) reasoning.effort = std::move(effort);
  if (const auto enabled = inner.flag("enabled")) set_think(*enabled, ask.think.rule, ask);
  if (inner.flag("exclude").value_or(false)) reasoning.shown = false;
  if (inner.any("max_tokens") != nullptr) ask.warnings.add("reasoning.max_tokens is ignored");
  if (inner.error()) fields.fail(inner.error()->message);
}

// vLLM's and llama-server's way to hand variables to the template. A model without a switch ignores it, as there.
void read_template_arguments(const Json& arguments, Ask& ask, Reasoning& reasoning) {
  for (const auto& [name, value] : arguments.items()) {
    const bool is_switch = name == "enable_thinking" || name == "thinking";
    if (is_switch && value.is_boolean()) {
      set_think(value.get<bool>(), ThinkRule::kIgnore, ask);
    } else if (name == "reasoning_effort" && value.is_string()) {
      reasoning.effort = value.get<std::string>();
    } else if (!value.is_null()) {
      ask.warnings.add(fmt::format("chat_template_kwargs.{} is ignored", name));
    }
  }
}

// What is said in OpenAI's own words counts before what is said in others'.
Result<Reasoning> read_thinking(Fields& fields, AskReader& reader, Ask& ask) {
  Reasoning reasoning;
  if (const Json* arguments = fields.object("chat_template_kwargs")) {
    read_template_arguments(*arguments, ask, reasoning);
  }
  // Qwen's own servers have the switch at the top level; GLM's and DeepSeek's have Anthropic's object.
  if (const auto enabled = fields.flag("enable_thinking")) set_think(*enabled, ThinkRule::kIgnore, ask);
  if (const Json* given = fields.object("thinking")) {
    Fields inner(*given, "Thinking");
    const std::string type = inner.text("type");
    if (inner.error()) return *inner.error();
    if (type == "enabled" || type == "disabled") set_think(type == "enabled", ThinkRule::kIgnore, ask);
    ask.think.rule = ThinkRule::kIgnore;
  }
  if (const Json* think = fields.any("think")) {
    if (auto read = reader.think(*think); !read) return read.error();
    ask.think.rule = ThinkRule::kRefuse;
  }
  if (std::string given = fields.text("reasoning_effort"); !given.empty()) reasoning.effort = std::move(given);
  if (const Json* given = fields.object("reasoning")) read_reasoning(*given, fields, ask, reasoning);
  if (!fields.flag("include_reasoning").value_or(true)) reasoning.shown = false;
  if (fields.error()) return *fields.error();
  if (reasoning.effort.empty()) return reasoning;
  auto think = think_of_effort(reasoning.effort);
  if (!think) return std::move(think).error();
  ask.think = std::move(*think);
  return reasoning;
}

using ReadFormat = Result<FormatAsk> (*)(const Json& given, const char* name);

Result<FormatAsk> read_guided_schema(const Json& given, const char* name) {
  if (given.is_object()) return FormatAsk{pb::Format::JSON_SCHEMA, given, false};
  Json schema;
  if (given.is_string() && !JsonReader(kBodyBounds).read(given.get_ref<const std::string&>(), schema) &&
      schema.is_object()) {
    return FormatAsk{pb::Format::JSON_SCHEMA, std::move(schema), false};
  }
  return invalid(fmt::format("{} must be a JSON schema, which is an object", name));
}

Result<FormatAsk> read_guided_choice(const Json& given, const char* name) {
  const auto is_text = [](const Json& choice) { return choice.is_string(); };
  if (!given.is_array() || given.empty() || !std::all_of(given.begin(), given.end(), is_text)) {
    return invalid(fmt::format("{} must be a list of texts", name));
  }
  Json schema = Json::object();
  schema["enum"] = given;
  return FormatAsk{pb::Format::JSON_SCHEMA, std::move(schema), false};
}

// What the answer is to be held to, under all the names that there are for it.
class Constraint {
 public:
  FormatAsk format;
  bool unquote = false;  // the answer is the text in the JSON string that comes out

  void take(const Json* value, const char* name, ReadFormat read) {
    if (value == nullptr || error_) return;
    Result<FormatAsk> found = read(*value, name);
    if (!found) {
      error_ = std::move(found).error();
    } else if (found->kind != pb::Format::TEXT) {
      format = std::move(*found);
      ++given_;
    }
  }
  void take_choice(const Json* value, const char* name) {
    take(value, name, read_guided_choice);
    unquote = unquote || value != nullptr;
  }
  Result<void> check() const {
    if (error_) return *error_;
    if (given_ <= 1) return {};
    return invalid(
        "only one of response_format, json_schema, guided_json, guided_choice and structured_outputs can be kept");
  }

 private:
  int given_ = 0;
  std::optional<Error> error_;
};

// vLLM's. Others than these (grammars, regular expressions) are named in warnings.
Result<void> read_structured_outputs(const Json& outputs, Constraint& constraint, Warnings& warnings) {
  Fields inner(outputs, "StructuredOutputs");
  constraint.take(inner.any("json"), "structured_outputs.json", read_guided_schema);
  constraint.take_choice(inner.any("choice"), "structured_outputs.choice");
  static const Json kAnyObject;
  if (inner.flag("json_object").value_or(false)) {
    constraint.take(&kAnyObject, "structured_outputs.json_object", [](const Json&, const char*) -> Result<FormatAsk> {
      return FormatAsk{pb::Format::JSON, {}, false};
    });
  }
  if (inner.error()) return *inner.error();
  for (const auto& [name, value] : outputs.items()) {
    const bool heeded = name == "json" || name == "choice" || name == "json_object";
    if (!heeded && !value.is_null()) warnings.add(fmt::format("structured_outputs.{} is ignored", name));
  }
  return {};
}

// OpenAI's `response_format`, and the names for the same that vLLM and llama-server have. True: the answer is the text
// in the JSON string that comes out.
Result<bool> read_constraint(Fields& fields, AskReader& reader) {
  Constraint constraint;
  constraint.take(fields.object("response_format"), "response_format",
                  [](const Json& format, const char*) { return read_openai_format(format); });
  constraint.take(fields.any("json_schema"), "json_schema", read_guided_schema);
  constraint.take(fields.any("guided_json"), "guided_json", read_guided_schema);
  constraint.take_choice(fields.any("guided_choice"), "guided_choice");
  if (const Json* outputs = fields.object("structured_outputs")) {
    if (auto read = read_structured_outputs(*outputs, constraint, reader.warnings()); !read) return read.error();
  }
  if (auto checked = constraint.check(); !checked) return checked.error();
  if (fields.error()) return *fields.error();
  if (auto kept = reader.format(constraint.format); !kept) return kept.error();
  return constraint.unquote;
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

Result<void> read_openai_options(const Json& body, Fields& fields, const char* tokens_max_name, AskReader& reader) {
  const Json* given = fields.object("options");
  Json options = given != nullptr ? *given : Json::object();
  // vLLM's name, and llama-server's
  for (const auto& [written, option] :
       {std::pair("repetition_penalty", "repeat_penalty"), std::pair("n_predict", "num_predict")}) {
    const Json* value = fields.any(written);
    if (value == nullptr) continue;
    if (auto taken = take_option(options, option, written, *value); !taken) return taken;
  }
  for (const auto& [name, value] : body.items()) {
    if (name != "stop" && name != "think" && !value.is_null() && find_parameter(name)) options[name] = value;
  }
  options["temperature"] = fields.number("temperature").value_or(kOpenaiTemperature);
  options["top_p"] = fields.number("top_p").value_or(kOpenaiTopP);
  if (const auto most = fields.integer(tokens_max_name)) {
    if (auto taken = take_option(options, "num_predict", tokens_max_name, *most); !taken) return taken;
  }
  if (const auto seed = fields.integer("seed")) options["seed"] = *seed;
  for (const char* name : {"frequency_penalty", "presence_penalty"}) {
    if (const auto value = fields.number(name)) options[name] = *value;
  }
  if (fields.any("stop") != nullptr) options["stop"] = fields.text_or_texts("stop");
  if (fields.error()) return *fields.error();
  return reader.options(options);
}

void name_ignored(const Json& body, std::string_view heeded, Warnings& warnings) {
  for (const auto& [name, value] : body.items()) {
    if (is_idle(name, value) || find_parameter(name)) continue;
    if (heeded.find(fmt::format(" {} ", name)) == std::string_view::npos)
      warnings.add(fmt::format("{} is ignored", name));
  }
}

Result<void> read_openai_additions(Fields& fields, Ask& ask) {
  ask.render_only = fields.flag("_debug_render_only").value_or(false);
  if (fields.error()) return *fields.error();
  auto keep_alive = read_keep_alive(fields.any("keep_alive"));
  if (!keep_alive) return std::move(keep_alive).error();
  ask.keep_alive = *keep_alive;
  return {};
}

Result<ThinkAsk> think_of_effort(const std::string& effort) {
  if (effort.empty()) return ThinkAsk{};
  if (effort == "none") return think_of(false);
  ThinkAsk think = think_of(true);
  think.level = effort;
  if (effort == "minimal") think.level = "low";
  if (effort == "xhigh" || effort == "ultra") think.level = "max";
  if (is_think_level(think.level)) return think;
  return invalid(fmt::format(
      "invalid reasoning value: '{}' (must be \"high\", \"medium\", \"low\", \"max\", or \"none\")", effort));
}

Result<FormatAsk> read_openai_format(const Json& format) {
  Fields fields(format, "ResponseFormat");
  const std::string type = fields.text("type");
  if (fields.error()) return *fields.error();
  if (type.empty() || type == "text") return FormatAsk{};
  const Json* nested = type == "json_schema" ? fields.object("json_schema") : nullptr;
  const Json& holder = nested != nullptr ? *nested : format;
  Fields inner(holder, nested != nullptr ? "JsonSchema" : "ResponseFormat");
  // With a schema beside it, json_object keeps to that, as with llama-server and others.
  const Json* schema = inner.object("schema");
  if (type == "json_object") {
    if (inner.error()) return *inner.error();
    if (schema == nullptr) return FormatAsk{pb::Format::JSON, {}, false};
  } else if (type != "json_schema") {
    return invalid(fmt::format("invalid response_format type: '{}' (must be text, json_object or json_schema)", type));
  }
  if (schema == nullptr) return invalid("response_format of the type json_schema needs a schema, which is an object");
  const auto strict = holder.find("strict");
  return FormatAsk{pb::Format::JSON_SCHEMA, *schema, strict != holder.end() && *strict == true};
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

namespace {

Result<void> read_tools(Fields& fields, AskReader& reader, OpenaiTools& tools) {
  const bool one_call = !fields.flag("parallel_tool_calls").value_or(true);
  const Json* list = fields.array("tools");
  if (fields.error()) return *fields.error();
  if (list == nullptr) return {};
  if (auto read = tools.read(*list, reader.warnings()); !read) return read;
  const Json* wish = fields.any("tool_choice");
  const auto choice = wish != nullptr ? tools.choose(*wish) : Result<ToolChoice>(ToolChoice{});
  if (!choice) return choice.error();
  return reader.tools(tools.take_functions(), *choice, one_call);
}

Result<void> read_messages(Fields& fields, AskReader& reader, pb::Chat& chat) {
  const Json* messages = fields.array("messages");
  if (messages == nullptr || messages->empty()) fields.fail("[] is too short - 'messages'");
  if (fields.error()) return *fields.error();
  if (auto checked = AskReader::check_message_count(messages->size()); !checked) return checked;
  for (const Json& message : *messages) {
    if (auto read = read_message(message, reader, *chat.add_messages()); !read) return read;
  }
  return {};
}

// What chat and completions have in common.
Result<void> read_head(Fields& fields, Ask& ask, OpenaiAsk& answer) {
  ask.model = answer.model = fields.text("model");
  ask.stream = fields.flag("stream").value_or(false);
  ask.truncate = fields.flag("truncate").value_or(true);
  ask.shift = fields.flag("shift").value_or(true);
  answer.include_usage = wants_usage(fields, ask.warnings);
  refuse_missing(fields);
  return read_openai_additions(fields, ask);
}

}  // namespace

Result<Request> read_openai_chat(Json body) {
  OpenaiAsk answer;
  answer.old_functions = functions_to_tools(body);
  Fields fields(body, "ChatCompletionRequest");
  Ask ask;
  pb::Chat& chat = ask.input.emplace<pb::Chat>();
  AskReader reader(ask);
  if (auto read = read_head(fields, ask, answer); !read) return read.error();
  const bool completion_tokens = fields.any("max_completion_tokens") != nullptr;
  const char* const tokens_max = completion_tokens ? "max_completion_tokens" : "max_tokens";
  if (auto read = read_openai_options(body, fields, tokens_max, reader); !read) return read.error();
  answer.logprobs = fields.flag("logprobs").value_or(false);
  const std::int64_t top = fields.integer("top_logprobs").value_or(0);
  if (auto read = reader.logprobs(answer.logprobs, top); !read) return read.error();
  const auto reasoning = read_thinking(fields, reader, ask);
  if (!reasoning) return reasoning.error();
  answer.hide_reasoning = !reasoning->shown;
  const auto unquote = read_constraint(fields, reader);
  if (!unquote) return unquote.error();
  answer.unquote = *unquote;
  if (auto read = read_messages(fields, reader, chat); !read) return read.error();
  if (auto read = read_tools(fields, reader, answer.tools); !read) return read.error();
  name_ignored(body, kChatFields, ask.warnings);
  return Request{std::move(ask), make_openai_chat_form(std::move(answer))};
}

Result<Request> read_openai_completion(Json body) {
  Fields fields(body, "CompletionRequest");
  Ask ask;
  OpenaiAsk answer;
  PromptAsk& asked = std::get<PromptAsk>(ask.input);
  AskReader reader(ask);
  if (auto read = read_head(fields, ask, answer); !read) return read.error();
  if (auto read = read_openai_options(body, fields, "max_tokens", reader); !read) return read.error();
  ask.think = think_of(false);  // the answer has no place for a thought
  asked.suffix = fields.text("suffix");
  if (const auto top = fields.integer("logprobs")) {
    if (*top < 0 || *top > kCompletionLogprobsMax) fields.fail("logprobs must be between 0 and 20");
    answer.logprobs = true;
  }
  if (fields.error()) return *fields.error();
  if (auto read = reader.logprobs(answer.logprobs, fields.integer("logprobs").value_or(0)); !read) return read.error();
  auto prompt = read_prompt(fields);
  if (!prompt) return std::move(prompt).error();
  asked.prompt = std::move(*prompt);
  ask.load_only = asked.prompt.empty() && asked.suffix.empty();
  const auto unquote = read_constraint(fields, reader);
  if (!unquote) return unquote.error();
  answer.unquote = *unquote;
  name_ignored(body, kCompletionFields, ask.warnings);
  return Request{std::move(ask), make_openai_completion_form(std::move(answer))};
}

}  // namespace drover::api
