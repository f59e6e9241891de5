#include "api/bind.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "api/ask_reader.h"
#include "api/service.h"
#include "store/parameters.h"
#include "store/renderers.h"

namespace drover::api {
namespace {

constexpr std::string_view kEmbeddingKeyEnd = " embedding";
// Logits that are divided by less are beyond what a float holds. Below, only the likeliest token is left anyway.
constexpr float kTemperatureMin = 1e-3F;
constexpr float kRepeatPenaltyMin = 1e-3F;
// What the vectors of one request may take in memory; they travel in one frame.
constexpr std::uint64_t kVectorBytesMax = 256U << 20;
// A model that does not say how long its vectors are is taken to have such ones.
constexpr std::uint64_t kDimensionsUnknown = 4096;

// Threads beyond these would wait for each other.
int processors() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kThreadsMax);
}

bool mentions(const std::string& text, std::string_view word) {
  return text.find(word) != std::string::npos;
}

// ---- options

void bind_sampling(const Json& options, pb::Generate& work) {
  const auto number = [&](const char* name, double otherwise) {
    return static_cast<float>(number_option(options, name, otherwise));
  };
  pb::Sampling& sampling = *work.mutable_sampling();
  const std::int64_t seed = options.value("seed", std::int64_t{-1});
  // llama.cpp reads this value as "take a random one".
  sampling.set_seed(seed < 0 ? 0xffffffffu : static_cast<std::uint32_t>(seed));
  const float temperature = number("temperature", 0.8);
  sampling.set_temperature(temperature < kTemperatureMin ? std::min(temperature, 0.0F) : temperature);
  sampling.set_top_k(integer_option(options, "top_k", 40));
  sampling.set_top_p(number("top_p", 0.9));
  sampling.set_min_p(number("min_p", 0.0));
  sampling.set_typical_p(number("typical_p", 1.0));
  sampling.set_repeat_last_n(integer_option(options, "repeat_last_n", 64));
  const float repeat_penalty = number("repeat_penalty", 1.0);
  sampling.set_repeat_penalty(repeat_penalty < kRepeatPenaltyMin ? 1.0F : repeat_penalty);
  sampling.set_presence_penalty(number("presence_penalty", 0.0));
  sampling.set_frequency_penalty(number("frequency_penalty", 0.0));
  work.set_predict_max(options.value("num_predict", std::int64_t{-1}));
  work.set_keep(static_cast<std::uint32_t>(std::max(integer_option(options, "num_keep", 4), 0)));
  const auto stops = options.find("stop");
  if (stops == options.end()) return;
  for (const Json& stop : *stops) {
    if (static_cast<std::size_t>(work.stop_size()) == kStopsMax) break;
    const std::string& text = stop.get_ref<const std::string&>();
    if (text.size() <= kStopBytesMax) work.add_stop(text);
  }
}

// What the engine makes of these is bounded by the model, the machine and the context: more is no reason to refuse.
void bind_load(const Json& options, ModelTarget& target) {
  target.context_length = std::max(integer_option(options, "num_ctx", 0), 0);
  target.batch = std::max(integer_option(options, "num_batch", 0, kBatchMax), 0);
  target.threads = std::max(integer_option(options, "num_thread", 0, processors()), 0);
  target.gpu_layers = integer_option(options, "num_gpu", -1);
  target.main_gpu = integer_option(options, "main_gpu", 0, kMainGpuMax);
  target.use_mmap = options.value("use_mmap", true);
}

// The model's own parameters, and before them the request's.
Json options_of(const Ask& ask, const Model& model) {
  Json merged = model.parameters;
  for (const auto& [name, value] : ask.options.items()) merged[name] = value;
  return merged;
}

// ---- thinking and the template

void set_thinking(bool thinks, std::string level, pb::Chat& chat) {
  chat.set_thinking(thinks ? pb::THINKING_ON : pb::THINKING_OFF);
  chat.set_think_level(std::move(level));
}

// What is not asked for is as the model says, else as the server says, else as Ollama has it: models that can think do.
void set_thinking_by_default(const Model& model, const std::optional<std::string>& server, pb::Chat& chat) {
  if (!model.can(Capability::kThinking)) return;
  const auto own = model.parameters.find("think");
  if (own != model.parameters.end() && own->is_boolean()) return set_thinking(own->get<bool>(), "", chat);
  if (own != model.parameters.end() && own->is_string() && is_think_level(own->get_ref<const std::string&>())) {
    return set_thinking(true, own->get<std::string>(), chat);
  }
  if (server && is_think_level(*server)) return set_thinking(true, *server, chat);
  set_thinking(!server || *server == "true", "", chat);
}

Result<void> bind_thinking(const ThinkAsk& think, const Model& model, const Settings& settings, pb::Chat& chat) {
  if (think.wish == pb::THINKING_UNSET) {
    set_thinking_by_default(model, settings.default_think, chat);
    return {};
  }
  const bool thinks = think.wish == pb::THINKING_ON;
  if (thinks && !model.can(Capability::kThinking)) {
    if (think.rule == ThinkRule::kIgnore) return {};
    return invalid(fmt::format("\"{}\" does not support thinking", model.name.display_shortest()));
  }
  set_thinking(thinks, think.level, chat);
  return {};
}

// A Go template that has no place for what is asked of it gives way to the template in the model's file, which has.
void set_template(const Model& model, pb::Chat& chat) {
  if (!model.template_text || model.template_void) return;
  const bool no_tools = !chat.tools_json().empty() && !mentions(*model.template_text, ".Tools");
  const bool no_thinking = chat.thinking() == pb::THINKING_ON && !mentions(*model.template_text, ".Think") &&
                           model.gguf->template_has_thinking();
  if (!no_tools && !no_thinking) chat.set_go_template(*model.template_text);
}

// ---- messages

void add_message(pb::Chat& chat, std::string role, std::string content) {
  pb::Message& message = *chat.add_messages();
  message.set_role(std::move(role));
  message.set_content(std::move(content));
}

void add_model_messages(const Model& model, pb::Chat& chat) {
  for (const Json& message : model.messages) {
    add_message(chat, message.value("role", "user"), message.value("content", ""));
  }
}

// Puts what the model brings before the client's own messages.
void add_before(const Model& model, pb::Chat& chat) {
  pb::Chat own;
  own.mutable_messages()->Swap(chat.mutable_messages());
  const bool has_system = own.messages_size() > 0 && own.messages(0).role() == "system";
  if (!has_system && !model.system.empty()) add_message(chat, "system", model.system);
  add_model_messages(model, chat);
  if (chat.messages_size() == 0) {
    chat.mutable_messages()->Swap(own.mutable_messages());
    return;
  }
  chat.mutable_messages()->Reserve(chat.messages_size() + own.messages_size());
  for (pb::Message& message : *own.mutable_messages()) *chat.add_messages() = std::move(message);
}

// ---- the input

Result<void> bind_chat(Ask& ask, const Model& model, const Settings& settings, pb::Generate& work) {
  if (ask.has_tools && !model.can(Capability::kTools)) return invalid(model.name.full() + " does not support tools");
  pb::Chat& chat = *work.mutable_chat();
  chat.Swap(&std::get<pb::Chat>(ask.input));
  add_before(model, chat);
  if (auto bound = bind_thinking(ask.think, model, settings, chat); !bound) return bound;
  set_template(model, chat);
  return {};
}

// Between prompt and suffix: by the template if it knows of that, else by the model's own tokens for it.
Result<void> bind_infill(PromptAsk& asked, const Model& model, pb::Generate& work) {
  const std::string& template_text =
      asked.template_text.empty() && model.template_text ? *model.template_text : asked.template_text;
  if (mentions(template_text, ".Suffix")) {
    pb::Chat& chat = *work.mutable_chat();
    chat.set_go_template(template_text);
    chat.set_suffix(std::move(asked.suffix));
    add_message(chat, "user", std::move(asked.prompt));
    return {};
  }
  if (!model.can(Capability::kInsert)) return invalid(model.name.full() + " does not support insert");
  work.mutable_infill()->set_prefix(std::move(asked.prompt));
  work.mutable_infill()->set_suffix(std::move(asked.suffix));
  return {};
}

Result<void> bind_prompt(Ask& ask, const Model& model, const Settings& settings, pb::Generate& work) {
  PromptAsk& asked = std::get<PromptAsk>(ask.input);
  if (!asked.raw && !asked.suffix.empty()) return bind_infill(asked, model, work);
  work.mutable_context()->Add(asked.context.begin(), asked.context.end());
  if (asked.raw) {
    work.set_raw_prompt(std::move(asked.prompt));
    return {};
  }
  pb::Chat& chat = *work.mutable_chat();
  const std::string& system = asked.system.empty() ? model.system : asked.system;
  if (!system.empty()) add_message(chat, "system", system);
  if (asked.context.empty()) add_model_messages(model, chat);
  add_message(chat, "user", std::move(asked.prompt));
  if (auto bound = bind_thinking(ask.think, model, settings, chat); !bound) return bound;
  if (asked.template_text.empty()) {
    set_template(model, chat);
  } else {
    chat.set_go_template(std::move(asked.template_text));
  }
  return {};
}

// ---- the two kinds of requests

Result<void> check_generates(const Ask& ask, const Model& model) {
  if (!model.family_renderer.empty() && find_renderer(model.family_renderer) == nullptr) {
    Error error = invalid(
        fmt::format("model \"{}\" names the renderer \"{}\", which Drover does not have, and its file holds no chat "
                    "template; a model that is made from it with a TEMPLATE of its own can be used",
                    model.name.display_shortest(), model.family_renderer));
    error.status = 500;  // the request is not at fault
    return error;
  }
  if (!model.can(Capability::kEmbedding) || model.can(Capability::kCompletion)) return {};
  return invalid(fmt::format("\"{}\" does not support {}", model.name.display_shortest(),
                             std::holds_alternative<pb::Chat>(ask.input) ? "chat" : "generate"));
}

Result<void> bind_generation(Ask& ask, const Model& model, const Settings& settings, Submission& into) {
  if (auto checked = check_generates(ask, model); !checked) return checked;
  const Json options = options_of(ask, model);
  bind_load(options, into.target);
  pb::Generate& work = into.work;
  bind_sampling(options, work);
  work.set_context_length(static_cast<std::uint32_t>(into.target.context_length));
  work.set_truncate(ask.truncate);
  work.set_shift(ask.shift);
  work.set_render_only(ask.render_only);
  work.set_want_context(ask.want_tokens);
  work.set_logprobs(ask.logprobs);
  work.set_top_logprobs(ask.top_logprobs);
  if (ask.format.kind() != pb::Format::TEXT) work.mutable_format()->Swap(&ask.format);
  const bool is_chat = std::holds_alternative<pb::Chat>(ask.input);
  return is_chat ? bind_chat(ask, model, settings, work) : bind_prompt(ask, model, settings, work);
}

Result<void> check_vectors(const pb::Embed& embed, const Model& model) {
  const std::uint64_t stated = model.gguf->embedding_length();
  const std::uint64_t dimensions = stated > 0 ? stated : kDimensionsUnknown;
  const std::uint64_t most = std::max<std::uint64_t>(kVectorBytesMax / sizeof(float) / dimensions, 1);
  const auto inputs = static_cast<std::uint64_t>(embed.texts_size() + embed.token_lists_size());
  if (inputs <= most) return {};
  return Error{ErrorCode::kTooLarge, fmt::format("{} inputs are too many for one request: at most {}", inputs, most)};
}

Result<void> bind_embedding(Ask& ask, const Model& model, Submission& into) {
  pb::Embed& asked = std::get<pb::Embed>(ask.input);
  if (auto checked = check_vectors(asked, model); !checked) return checked;
  bind_load(options_of(ask, model), into.target);
  into.embed.Swap(&asked);
  into.embed.set_context_length(static_cast<std::uint32_t>(into.target.context_length));
  return {};
}

}  // namespace

Result<std::shared_ptr<const Model>> find_model(ModelStore& store, const Ask& ask) {
  if (ask.model.empty() && std::holds_alternative<pb::Chat>(ask.input)) return invalid("model is required");
  if (ask.model.empty()) return model_not_found("");
  const auto name = ModelName::parse(ask.model);
  if (!name) return name.error();
  auto model = store.find(*name);
  if (model) return model;
  if (model.error().code != ErrorCode::kNotFound) return internal(model.error().message);
  if (!std::holds_alternative<pb::Embed>(ask.input)) return model_not_found(ask.model);
  return not_found(fmt::format("model \"{}\" not found, try pulling it first", ask.model));
}

Result<Submission> bind_ask(Ask& ask, const std::shared_ptr<const Model>& model, const Settings& settings) {
  Submission submission;
  const bool embeds = std::holds_alternative<pb::Embed>(ask.input);
  const std::string name = model->name.display_shortest();
  submission.target = embeds ? embedding_target_of(model, name, settings) : target_of(model, name, settings);
  submission.keep_alive = ask.keep_alive;
  submission.load_only = ask.load_only;
  submission.streams = ask.stream;
  if (ask.unloads()) return submission;
  auto bound = embeds ? bind_embedding(ask, *model, submission) : bind_generation(ask, *model, settings, submission);
  if (!bound) return std::move(bound).error();
  return submission;
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
    // The pool holds at most two full contexts, whatever the number of slots.
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
