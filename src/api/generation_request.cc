#include "api/generation_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "api/call_arguments.h"
#include "api/openai_tools.h"
#include "api/schema_check.h"
#include "base/go_duration.h"
#include "base/text.h"
#include "schema/schema_rewrite.h"
#include "store/parameters.h"
#include "store/renderers.h"

namespace drover::api {
namespace {

constexpr std::int64_t kTopLogprobsMax = 20;
constexpr std::string_view kEmbeddingKeyEnd = " embedding";
// Logits that are divided by less are beyond what a float holds. Below, only the likeliest token is left anyway.
constexpr double kTemperatureMin = 1e-3;
constexpr double kRepeatPenaltyMin = 1e-3;
constexpr std::size_t kMessagesMax = 100'000;
constexpr std::size_t kFormatShownMax = 1000;  // bytes of one that is none

const char* type_name(Endpoint endpoint) {
  return endpoint == Endpoint::kGenerate ? "GenerateRequest" : "ChatRequest";
}

RequestError bad(std::string message, int status = 0) {
  return {invalid(std::move(message)), status};
}

// Threads beyond these would wait for each other.
int processors() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kThreadsMax);
}

void read_sampling(const Json& options, pb::Generate& work) {
  const auto number = [&](const char* name, double otherwise) {
    return static_cast<float>(number_option(options, name, otherwise));
  };
  pb::Sampling& sampling = *work.mutable_sampling();
  const std::int64_t seed = options.value("seed", std::int64_t{-1});
  // llama.cpp reads this value as "take a random one".
  sampling.set_seed(seed < 0 ? 0xffffffffu : static_cast<std::uint32_t>(seed));
  const float temperature = number("temperature", 0.8);
  sampling.set_temperature(temperature < kTemperatureMin ? std::min(temperature, 0.0f) : temperature);
  sampling.set_top_k(integer_option(options, "top_k", 40));
  sampling.set_top_p(number("top_p", 0.9));
  sampling.set_min_p(number("min_p", 0.0));
  sampling.set_typical_p(number("typical_p", 1.0));
  sampling.set_repeat_last_n(integer_option(options, "repeat_last_n", 64));
  const float repeat_penalty = number("repeat_penalty", 1.0);
  sampling.set_repeat_penalty(repeat_penalty < kRepeatPenaltyMin ? 1.0f : repeat_penalty);
  sampling.set_presence_penalty(number("presence_penalty", 0.0));
  sampling.set_frequency_penalty(number("frequency_penalty", 0.0));
  const std::int64_t predict = options.value("num_predict", std::int64_t{-1});
  work.set_predict_max(predict);
  work.set_keep(static_cast<std::uint32_t>(std::max(integer_option(options, "num_keep", 4), 0)));
  if (const auto stops = options.find("stop"); stops != options.end()) {
    for (const Json& stop : *stops) {
      if (static_cast<std::size_t>(work.stop_size()) == kStopsMax) break;
      const std::string& text = stop.get_ref<const std::string&>();
      if (text.size() <= kStopBytesMax) work.add_stop(text);
    }
  }
}

}  // namespace

std::optional<RequestError> read_options(const Json& body, const Model& model, Submission& into) {
  Json given = Json::object();
  if (const auto found = body.find("options"); found != body.end() && !found->is_null()) {
    if (!found->is_object())
      return bad("json: cannot unmarshal options into Go struct field of type map[string]interface {}");
    given = *found;
  }
  // Some clients write them beside `options`, which count before these. `think` is a field of the request there.
  for (const auto& [name, value] : body.items()) {
    if (name != "think" && find_parameter(name) && !given.contains(name)) given[name] = value;
  }
  const auto options = check_options(given);
  if (!options) return RequestError{options.error(), 0};
  if (auto checked = check_ranges(*options); !checked) return RequestError{checked.error(), 0};
  Json merged = model.parameters;
  for (const auto& [name, value] : options->items()) merged[name] = value;
  read_sampling(merged, into.work);
  ModelTarget& target = into.target;
  // What the engine makes of these is bounded by the model, the machine and the context: more is no reason to refuse.
  target.context_length = std::max(integer_option(merged, "num_ctx", 0), 0);
  target.batch = std::max(integer_option(merged, "num_batch", 0, kBatchMax), 0);
  target.threads = std::max(integer_option(merged, "num_thread", 0, processors()), 0);
  target.gpu_layers = integer_option(merged, "num_gpu", -1);
  target.main_gpu = integer_option(merged, "main_gpu", 0, kMainGpuMax);
  target.use_mmap = merged.value("use_mmap", true);
  into.work.set_context_length(static_cast<std::uint32_t>(target.context_length));
  return std::nullopt;
}

namespace {

// The runner rewrites the schemas again, in the same way, before it makes grammars of them: here it is found out what
// is not kept, and whether what comes of it is still within the bounds.
std::optional<RequestError> rewrite_format(const Json& schema, bool strict, Warnings& warnings) {
  schema::SchemaRewriter rewriter;
  const auto rewritten = rewriter.rewrite(schema, "format", strict);
  if (!rewritten) return bad("invalid format: " + rewritten.error().message);
  SchemaBudget budget;
  if (auto checked = check_schema(*rewritten, budget); !checked) {
    return bad("invalid format: " + checked.error().message);
  }
  for (const std::string& warning : rewriter.warnings()) warnings.add(warning);
  return std::nullopt;
}

std::optional<RequestError> rewrite_tools(const Json& tools, Warnings& warnings) {
  schema::SchemaRewriter rewriter;
  const auto rewritten = rewriter.rewrite_tools(tools);
  if (!rewritten) return bad(rewritten.error().message);
  SchemaBudget budget;
  if (auto checked = check_tools(*rewritten, budget); !checked) return bad(checked.error().message);
  for (const std::string& warning : rewriter.warnings()) warnings.add(warning);
  return std::nullopt;
}

// `format_strict` is what OpenAI's `strict` becomes: a schema that cannot be kept is refused.
std::optional<RequestError> read_format(const Json& body, SchemaBudget& budget, pb::Generate& work,
                                        Warnings& warnings) {
  const auto found = body.find("format");
  if (found == body.end() || found->is_null() || *found == "") return std::nullopt;
  if (*found == "json") {
    work.mutable_format()->set_kind(pb::Format::JSON);
  } else if (found->is_object()) {
    if (auto checked = check_schema(*found, budget); !checked) return bad("invalid format: " + checked.error().message);
    const auto strict = body.find("format_strict");
    if (auto error = rewrite_format(*found, strict != body.end() && *strict == true, warnings)) return error;
    work.mutable_format()->set_kind(pb::Format::JSON_SCHEMA);
    work.mutable_format()->set_schema_json(found->dump());
  } else {
    const std::string text = to_text(*found);
    const std::string_view end = text.size() > kFormatShownMax ? "..." : "";
    return bad(fmt::format("invalid format: {}{}; expected \"json\" or a valid JSON Schema object",
                           text.substr(0, kFormatShownMax), end));
  }
  return std::nullopt;
}

// `value`: true, false or how hard. False: it is neither.
bool set_thinking(const Json& value, pb::Chat& chat) {
  if (value.is_boolean()) {
    chat.set_thinking(value.get<bool>() ? pb::THINKING_ON : pb::THINKING_OFF);
    return true;
  }
  if (!value.is_string() || !is_think_level(value.get_ref<const std::string&>())) return false;
  chat.set_think_level(value.get<std::string>());
  chat.set_thinking(pb::THINKING_ON);
  return true;
}

// What is not asked for is as the model says, else as the server says, else as Ollama has it: models that can think do.
void set_thinking_by_default(const Model& model, const std::optional<std::string>& server, pb::Chat& chat) {
  if (!model.can(Capability::kThinking)) return;
  if (const auto own = model.parameters.find("think"); own != model.parameters.end() && set_thinking(*own, chat))
    return;
  if (!server) return chat.set_thinking(pb::THINKING_ON);
  set_thinking(is_think_level(*server) ? Json(*server) : Json(*server == "true"), chat);
}

std::optional<RequestError> read_think(const Json& body, const Model& model, ThinkRule rule,
                                       const std::optional<std::string>& server, pb::Chat& chat) {
  const auto found = body.find("think");
  if (found == body.end() || found->is_null()) {
    set_thinking_by_default(model, server, chat);
    return std::nullopt;
  }
  if (!set_thinking(*found, chat)) {
    if (found->is_string()) {
      const std::string level = found->get<std::string>();
      return bad(fmt::format(
          "invalid think value: \"{}\" (must be \"high\", \"medium\", \"low\", \"max\", true, or false)", level));
    }
    return bad("think must be a boolean or string (\"high\", \"medium\", \"low\", \"max\", true, or false)");
  }
  if (chat.thinking() == pb::THINKING_ON && !model.can(Capability::kThinking)) {
    if (rule == ThinkRule::kIgnore) {
      chat.clear_thinking();
      chat.clear_think_level();
      return std::nullopt;
    }
    return bad(fmt::format("\"{}\" does not support thinking", model.name.display_shortest()));
  }
  return std::nullopt;
}

std::optional<RequestError> read_logprobs(Fields& fields, pb::Generate& work) {
  const std::int64_t top = fields.integer("top_logprobs").value_or(0);
  if (top < 0 || top > kTopLogprobsMax) return bad("top_logprobs must be between 0 and 20");
  work.set_logprobs(fields.flag("logprobs").value_or(false));
  work.set_top_logprobs(static_cast<std::uint32_t>(top));
  return std::nullopt;
}

void add_message(pb::Chat& chat, std::string role, std::string content) {
  pb::Message& message = *chat.add_messages();
  message.set_role(std::move(role));
  message.set_content(std::move(content));
}

void read_tool_calls(Fields& fields, SchemaBudget& budget, pb::Message& message, JsonReader& reader,
                     Warnings& warnings) {
  const Json* calls = fields.array("tool_calls");
  if (calls == nullptr) return;
  for (const Json& call : *calls) {
    const auto function = call.is_object() ? call.find("function") : call.end();
    if (!call.is_object() || function == call.end() || !function->is_object()) {
      return fields.fail("json: tool_calls must hold objects with a function");
    }
    Fields call_fields(call, "ToolCall");
    Fields function_fields(*function, "ToolCallFunction");
    pb::ToolCall& into = *message.add_tool_calls();
    into.set_id(call_fields.text("id"));
    into.set_name(function_fields.text("name"));
    const Json* arguments = function_fields.any("arguments");
    Json made;
    if (arguments == nullptr || !arguments->is_object()) {
      auto read = call_arguments(arguments, reader, warnings);
      if (!read) return fields.fail(read.error().message);
      made = std::move(*read);
      arguments = &made;
    }
    if (auto handed = check_handed(*arguments, budget); !handed) {
      return fields.fail("tool call arguments: " + handed.error().message);
    }
    into.set_arguments_json(arguments->dump());
    if (call_fields.error()) fields.fail(call_fields.error()->message);
    if (function_fields.error()) fields.fail(function_fields.error()->message);
  }
}

std::optional<RequestError> read_messages(const Json& list, SchemaBudget& budget, Warnings& warnings, pb::Chat& chat) {
  JsonReader arguments(kBodyBounds);
  if (list.size() > kMessagesMax) return bad(fmt::format("more than {} messages", kMessagesMax));
  for (const Json& item : list) {
    if (!item.is_object())
      return bad("json: cannot unmarshal a message into Go struct field ChatRequest.messages of type api.Message");
    Fields fields(item, "Message");
    pb::Message& message = *chat.add_messages();
    std::string role = fields.text("role");
    std::transform(role.begin(), role.end(), role.begin(), [](unsigned char c) { return std::tolower(c); });
    message.set_role(std::move(role));
    message.set_content(fields.text("content"));
    message.set_thinking(fields.text("thinking"));
    message.set_tool_name(fields.text("tool_name"));
    message.set_tool_call_id(fields.text("tool_call_id"));
    read_tool_calls(fields, budget, message, arguments, warnings);
    const Json* images = fields.array("images");
    if (images != nullptr && !images->empty()) return bad("image input is not supported yet");
    if (fields.error()) return RequestError{*fields.error(), 0};
  }
  return std::nullopt;
}

void add_model_messages(const Model& model, pb::Chat& chat) {
  for (const Json& message : model.messages) {
    add_message(chat, message.value("role", "user"), message.value("content", ""));
  }
}

// The name of the one function that `choice` asks for; null if it is no such object.
const Json* chosen_function(const Json& choice) {
  if (!choice.is_object()) return nullptr;
  const auto function = choice.find("function");
  if (function == choice.end() || !function->is_object()) return nullptr;
  const auto name = function->find("name");
  return name == function->end() || !name->is_string() ? nullptr : &*name;
}

Json tools_named(const Json& tools, const Json& name) {
  Json found = Json::array();
  for (const Json& tool : tools) {
    const Json* own = chosen_function(tool);  // a tool has the same form as the wish for it
    if (own != nullptr && *own == name) found.push_back(tool);
  }
  return found;
}

// `tool_choice`, as OpenAI has it: "auto", "none", "required", or {"type":"function","function":{"name":…}}.
std::optional<RequestError> read_tools(const Json& body, const Json& sent, const Model& model, SchemaBudget& budget,
                                       pb::Chat& chat, Warnings& warnings) {
  if (!model.can(Capability::kTools)) return bad(model.name.full() + " does not support tools");
  if (auto checked = check_tools(sent, budget); !checked) return bad(checked.error().message);
  // Tools of the other APIs are in the native form by now. Native clients leave the type away, write nulls, or send
  // what those have too.
  OpenaiTools known;
  if (auto read = known.read(sent, warnings); !read) return bad(read.error().message);
  const Json tools = known.take_functions();
  if (tools.empty()) return std::nullopt;
  if (auto error = rewrite_tools(tools, warnings)) return error;
  if (const auto parallel = body.find("parallel_tool_calls"); parallel != body.end()) {
    chat.set_one_call(*parallel == false);
  }
  const auto choice = body.find("tool_choice");
  if (choice != body.end() && *choice == "none") return std::nullopt;
  if (choice == body.end() || choice->is_null() || *choice == "auto" || *choice == "required") {
    chat.set_tools_json(tools.dump());
    chat.set_tool_required(choice != body.end() && *choice == "required");
    return std::nullopt;
  }
  const Json* name = chosen_function(*choice);
  if (name == nullptr) {
    return bad("invalid tool_choice: it takes \"auto\", \"none\", \"required\" or an object that names a function");
  }
  const Json chosen = tools_named(tools, *name);
  if (chosen.empty()) return bad(fmt::format("tool_choice names {}, which is not among the tools", to_text(*name)));
  // A function by name is the only one that is offered, and has to be called.
  chat.set_tools_json(chosen.dump());
  chat.set_tool_required(true);
  return std::nullopt;
}

bool mentions(const std::string& text, std::string_view word) {
  return text.find(word) != std::string::npos;
}

// A Go template that has no place for what is asked of it gives way to the template in the model's file, which has.
void set_template(const Model& model, pb::Chat& chat) {
  if (!model.template_text || model.template_void) return;
  const bool no_tools = !chat.tools_json().empty() && !mentions(*model.template_text, ".Tools");
  const bool no_thinking = chat.thinking() == pb::THINKING_ON && !mentions(*model.template_text, ".Think") &&
                           model.gguf->template_has_thinking();
  if (!no_tools && !no_thinking) chat.set_go_template(*model.template_text);
}

std::optional<RequestError> read_chat(const Json& body, const Model& model, ThinkRule think_rule,
                                      const Settings& settings, SchemaBudget& budget, Submission& into,
                                      Warnings& warnings) {
  Fields fields(body, "ChatRequest");
  pb::Chat& chat = *into.work.mutable_chat();
  pb::Chat own;
  if (const Json* messages = fields.array("messages")) {
    if (auto error = read_messages(*messages, budget, warnings, own)) return error;
  }
  const bool has_system = own.messages_size() > 0 && own.messages(0).role() == "system";
  if (!has_system && !model.system.empty()) add_message(chat, "system", model.system);
  add_model_messages(model, chat);
  chat.mutable_messages()->MergeFrom(own.messages());
  if (const Json* tools = fields.array("tools"); tools != nullptr && !tools->empty()) {
    if (auto error = read_tools(body, *tools, model, budget, chat, warnings)) return error;
  }
  if (fields.error()) return RequestError{*fields.error(), 0};
  if (auto error = read_think(body, model, think_rule, settings.default_think, chat)) return error;
  set_template(model, chat);
  return std::nullopt;
}

std::optional<RequestError> read_generate(const Json& body, const Model& model, ThinkRule think_rule,
                                          const Settings& settings, Submission& into) {
  Fields fields(body, "GenerateRequest");
  const std::string prompt = fields.text("prompt");
  const std::string suffix = fields.text("suffix");
  const std::string system = fields.text("system");
  const std::string template_text = fields.text("template");
  const bool raw = fields.flag("raw").value_or(false);
  const Json* context = fields.array("context");
  if (const Json* images = fields.array("images"); images != nullptr && !images->empty()) {
    return bad("image input is not supported yet");
  }
  if (fields.error()) return RequestError{*fields.error(), 0};
  if (raw && (!template_text.empty() || !system.empty() || (context != nullptr && !context->empty()))) {
    return bad("raw mode does not support template, system, or context");
  }
  into.work.set_want_context(!raw);
  if (raw) {
    into.work.set_raw_prompt(prompt);
    return std::nullopt;
  }
  const std::string template_used = template_text.empty() ? model.template_text.value_or("") : template_text;
  if (!suffix.empty() && mentions(template_used, ".Suffix")) {
    pb::Chat& chat = *into.work.mutable_chat();
    chat.set_go_template(template_used);
    chat.set_suffix(suffix);
    add_message(chat, "user", prompt);
    return std::nullopt;
  }
  if (!suffix.empty()) {
    if (!model.can(Capability::kInsert)) return bad(model.name.full() + " does not support insert");
    into.work.mutable_infill()->set_prefix(prompt);
    into.work.mutable_infill()->set_suffix(suffix);
    return std::nullopt;
  }
  if (context != nullptr) {
    for (const Json& token : *context) {
      if (!token.is_number_integer())
        return bad("json: cannot unmarshal into Go struct field GenerateRequest.context of type int");
      into.work.add_context(token.get<std::uint32_t>());
    }
  }
  pb::Chat& chat = *into.work.mutable_chat();
  const std::string& system_used = system.empty() ? model.system : system;
  if (!system_used.empty()) add_message(chat, "system", system_used);
  if (into.work.context_size() == 0) add_model_messages(model, chat);
  add_message(chat, "user", prompt);
  if (auto error = read_think(body, model, think_rule, settings.default_think, chat)) return error;
  if (template_text.empty()) {
    set_template(model, chat);
  } else {
    chat.set_go_template(template_text);
  }
  return std::nullopt;
}

}  // namespace

Result<std::optional<Duration>> read_keep_alive(const Json* value) {
  if (value == nullptr) return std::optional<Duration>();
  if (value->is_number()) {
    const double seconds = value->get<double>();
    if (seconds < 0) return std::optional<Duration>(Duration::min());
    return std::optional<Duration>(
        std::chrono::duration_cast<Duration>(std::chrono::duration<double>(std::min(seconds, 9e9))));
  }
  if (value->is_string()) {
    // Ollama wants a unit. Applications hand on what somebody typed, and all of them mean seconds.
    const auto parsed = parse_seconds_or_go_duration(trimmed(value->get_ref<const std::string&>()));
    if (!parsed) return parsed.error();
    return std::optional<Duration>(parsed->count() < 0 ? Duration::min() : Duration(*parsed));
  }
  return invalid("keep_alive must be a number of seconds or a duration string");
}

Result<GenerationHead> read_head(Endpoint endpoint, const Json& body) {
  Fields fields(body, type_name(endpoint));
  GenerationHead head;
  head.model = fields.text("model");
  head.stream = fields.flag("stream").value_or(true);
  if (endpoint == Endpoint::kGenerate) {
    head.empty = fields.text("prompt").empty() && fields.text("suffix").empty();
  } else {
    const Json* messages = fields.array("messages");
    head.empty = messages == nullptr || messages->empty();
  }
  if (fields.error()) return *fields.error();
  auto keep_alive = read_keep_alive(fields.any("keep_alive"));
  if (!keep_alive) return keep_alive.error();
  head.keep_alive = *keep_alive;
  return head;
}

std::optional<RequestError> read_generation(Endpoint endpoint, const Json& body, const Model& model,
                                            ThinkRule think_rule, const Settings& settings, Submission& into,
                                            Warnings& warnings) {
  if (!model.family_renderer.empty() && find_renderer(model.family_renderer) == nullptr) {
    return bad(fmt::format("model \"{}\" names the renderer \"{}\", which Drover does not have, and its file holds no "
                           "chat template; a model that is made from it with a TEMPLATE of its own can be used",
                           model.name.display_shortest(), model.family_renderer),
               500);
  }
  if (model.can(Capability::kEmbedding) && !model.can(Capability::kCompletion)) {
    return bad(fmt::format("\"{}\" does not support {}", model.name.display_shortest(),
                           endpoint == Endpoint::kChat ? "chat" : "generate"));
  }
  Fields fields(body, type_name(endpoint));
  if (auto error = read_logprobs(fields, into.work)) return error;
  into.work.set_truncate(fields.flag("truncate").value_or(true));
  into.work.set_shift(fields.flag("shift").value_or(true));
  into.work.set_render_only(fields.flag("_debug_render_only").value_or(false));
  if (fields.error()) return RequestError{*fields.error(), 0};
  if (auto error = read_options(body, model, into)) return error;
  SchemaBudget budget;
  if (auto error = read_format(body, budget, into.work, warnings)) return error;
  return endpoint == Endpoint::kChat ? read_chat(body, model, think_rule, settings, budget, into, warnings)
                                     : read_generate(body, model, think_rule, settings, into);
}

ModelTarget target_of(const std::shared_ptr<const Model>& model, const std::string& shown_name,
                      const Settings& settings) {
  ModelTarget target;
  target.name = shown_name;
  target.manifest_digest = model->digest.hex();
  target.model_path = model->model_path.string();
  target.key = model->model_digest.to_string();
  for (const auto& path : model->shard_paths) {
    target.shard_paths.push_back(path.string());
    target.key += "," + path.filename().string();
  }
  for (const auto& path : model->adapter_paths) {
    target.adapter_paths.push_back(path.string());
    target.key += "+" + path.filename().string();
  }
  if (const Renderer* family = find_renderer(model->family_renderer)) {
    target.family_template = family->jinja;
    target.key += " " + target.family_template;
  }
  target.trained_context = static_cast<int>(std::min<std::uint64_t>(model->gguf->context_length(), 1u << 30));
  const int parallel = settings.parallel == 0 ? 2 : settings.parallel;  // auto: more than one
  target.estimate = [gguf = model->gguf, parallel](int context_length) {
    // The pool holds at most two full contexts, whatever the number of places.
    return gguf->estimate_memory_bytes(static_cast<std::uint64_t>(context_length), std::min(parallel, 2));
  };
  return target;
}

ModelTarget embedding_target_of(const std::shared_ptr<const Model>& model, const std::string& shown_name,
                                const Settings& settings) {
  ModelTarget target = target_of(model, shown_name, settings);
  target.key = embedding_key(target.key);
  target.embedding = true;
  target.estimate = [gguf = model->gguf](int context_length) {
    return gguf->estimate_memory_bytes(static_cast<std::uint64_t>(context_length), 1);
  };
  return target;
}

std::string embedding_key(const std::string& key) {
  return key + std::string(kEmbeddingKeyEnd);
}

std::string generation_key(std::string key) {
  if (key.ends_with(kEmbeddingKeyEnd)) key.resize(key.size() - kEmbeddingKeyEnd.size());
  return key;
}

}  // namespace drover::api
