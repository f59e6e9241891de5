#include "engine/chat_template.h"

#include <llama.h>
#include <spdlog/spdlog.h>

#include <exception>
#include <list>
#include <mutex>
#include <unordered_map>

#include "chat-auto-parser.h"
#include "chat.h"
#include "engine/llama_model.h"
#include "json-schema-to-grammar.h"
#include "template/template.h"

namespace drover {
namespace {

constexpr std::size_t kGrammarsCachedMax = 64;

// Schemas repeat from request to request; turning one into a grammar can take milliseconds.
class GrammarCache {
 public:
  Result<std::string> get(const std::string& schema) {
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = grammars_.find(schema); found != grammars_.end()) return found->second;
    }
    std::string grammar;
    try {
      grammar = json_schema_to_grammar(common_json::parse(schema));
    } catch (const std::exception& error) {
      return invalid(std::string("invalid format: ") + error.what());
    }
    const std::lock_guard lock(mutex_);
    if (order_.size() >= kGrammarsCachedMax) {
      grammars_.erase(order_.front());
      order_.pop_front();
    }
    if (grammars_.emplace(schema, grammar).second) order_.push_back(schema);
    return grammar;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, std::string> grammars_;
  std::list<std::string> order_;
};

GrammarCache& grammar_cache() {
  static GrammarCache cache;
  return cache;
}

common_chat_msg to_common(const pb::Message& message) {
  common_chat_msg result;
  result.role = message.role();
  result.content = message.content();
  result.reasoning_content = message.thinking();
  result.tool_name = message.tool_name();
  result.tool_call_id = message.tool_call_id();
  for (const pb::ToolCall& call : message.tool_calls()) {
    result.tool_calls.push_back({call.name(), call.arguments_json(), call.id()});
  }
  return result;
}

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string concatenated(const pb::Chat& chat) {
  std::string text;
  for (const pb::Message& message : chat.messages()) {
    if (!text.empty()) text += "\n";
    text += message.content();
  }
  return text;
}

Result<RenderedPrompt> render_go(const pb::Chat& chat, const pb::Format& format) {
  auto parsed = go_template::Template::parse(chat.go_template());
  if (!parsed) return std::move(parsed).error();
  go_template::ChatInputs inputs;
  for (const pb::Message& message : chat.messages()) {
    go_template::Message& into = inputs.messages.emplace_back();
    into.role = message.role();
    into.content = message.content();
    into.thinking = message.thinking();
    into.tool_name = message.tool_name();
    into.tool_call_id = message.tool_call_id();
    for (const pb::ToolCall& call : message.tool_calls()) {
      into.tool_calls.push_back({.id = call.id(),
                                 .index = static_cast<int>(into.tool_calls.size()),
                                 .name = call.name(),
                                 .arguments_json = call.arguments_json()});
    }
  }
  inputs.tools_json = chat.tools_json();
  inputs.suffix = chat.suffix();
  if (!inputs.suffix.empty() && chat.messages_size() > 0)
    inputs.prompt = chat.messages(chat.messages_size() - 1).content();
  inputs.now = std::chrono::system_clock::now();
  if (chat.thinking() != pb::THINKING_UNSET) inputs.think = chat.thinking() == pb::THINKING_ON;
  inputs.think_level = chat.think_level();
  auto text = parsed->render_chat(inputs);
  if (!text) return std::move(text).error();
  RenderedPrompt prompt;
  prompt.text = std::move(*text);
  auto grammar = grammar_for(format);
  if (!grammar) return std::move(grammar).error();
  prompt.grammar = std::move(*grammar);
  if (const auto tags = parsed->thinking_tags(); tags && chat.thinking() == pb::THINKING_ON) {
    const auto& [open, close] = *tags;
    prompt.syntax.kind = OutputSyntax::Kind::kThinking;
    prompt.syntax.thinking_start = open;
    prompt.syntax.thinking_end = close;
    const std::string end = trimmed(prompt.text);
    prompt.syntax.starts_in_thinking =
        end.size() >= open.size() && end.compare(end.size() - open.size(), open.size(), open) == 0;
    if (!prompt.grammar.empty()) prompt.grammar_start = {GrammarStart::Kind::kAfterText, close, {}, {}};
  }
  return prompt;
}

}  // namespace

Result<std::string> grammar_for(const pb::Format& format) {
  switch (format.kind()) {
    case pb::Format::JSON:
      return grammar_cache().get(R"({"type":"object"})");
    case pb::Format::JSON_SCHEMA:
      return grammar_cache().get(format.schema_json());
    default:
      return std::string();
  }
}

struct ChatTemplate::Parts {
  explicit Parts(const LlamaModel& of) : model(of) {}

  const LlamaModel& model;
  common_chat_templates_ptr templates;
  bool present = false;      // the model has a template of its own
  bool specialized = false;  // llama.cpp has a hand-written parser: its output is never plain
  bool supports_thinking = false;
  bool supports_tools = false;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::create(const LlamaModel& model) {
  auto parts = std::make_unique<Parts>(model);
  parts->present = llama_model_chat_template(model.get(), nullptr) != nullptr;
  if (!parts->present) return std::unique_ptr<ChatTemplate>(new ChatTemplate(std::move(parts)));
  try {
    parts->templates = common_chat_templates_init(model.get(), "");
    common_chat_templates_inputs inputs;
    common_chat_msg hello;
    hello.role = "user";
    hello.content = "Hello";
    inputs.messages = {hello};
    inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    const common_chat_params analysed = common_chat_templates_apply(parts->templates.get(), inputs);
    parts->supports_thinking = analysed.supports_thinking;
    const auto caps = common_chat_templates_get_caps(parts->templates.get());
    const auto has = [&](const char* name) { return caps.count(name) > 0 && caps.at(name); };
    parts->supports_tools = has("supports_tools") || has("supports_tool_calls");
    const std::string source = common_chat_templates_source(parts->templates.get());
    const common_chat_template tmpl(source, "", "");
    autoparser::generation_params probe;
    probe.messages = common_json::parse(R"([{"role":"user","content":"Hello"}])");
    probe.add_generation_prompt = true;
    parts->specialized = common_chat_try_specialized_template(tmpl, source, probe).has_value();
  } catch (const std::exception& error) {
    return invalid(std::string("the model's chat template cannot be used: ") + error.what());
  }
  return std::unique_ptr<ChatTemplate>(new ChatTemplate(std::move(parts)));
}

bool ChatTemplate::present() const {
  return parts_->present;
}
bool ChatTemplate::can_think() const {
  return parts_->supports_thinking;
}
bool ChatTemplate::can_call_tools() const {
  return parts_->supports_tools;
}

namespace {

// Fills the parts of `prompt` that say how the output is to be read.
void read_syntax(const LlamaModel& model, const common_chat_params& params, bool parser_needed,
                 RenderedPrompt& prompt) {
  prompt.stops = params.additional_stops;
  if (parser_needed) {
    prompt.syntax.kind = OutputSyntax::Kind::kParser;
    prompt.syntax.format = static_cast<int>(params.format);
    prompt.syntax.parser = params.parser;
    prompt.syntax.generation_prompt = params.generation_prompt;
  } else if (params.supports_thinking && !params.thinking_end_tags.empty()) {
    prompt.syntax.kind = OutputSyntax::Kind::kThinking;
    prompt.syntax.thinking_start = params.thinking_start_tag;
    prompt.syntax.thinking_end = params.thinking_end_tags.front();
    const std::string end = trimmed(params.generation_prompt);
    const std::string& open = params.thinking_start_tag;
    prompt.syntax.starts_in_thinking =
        !open.empty() && end.size() >= open.size() && end.compare(end.size() - open.size(), open.size(), open) == 0;
  }
  if (params.grammar.empty()) return;
  prompt.grammar = params.grammar;
  if (!params.grammar_lazy) return;
  prompt.grammar_start.kind = GrammarStart::Kind::kOnTrigger;
  for (const common_grammar_trigger& trigger : params.grammar_triggers) {
    switch (trigger.type) {
      case COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN:
        prompt.grammar_start.trigger_tokens.push_back(trigger.token);
        break;
      case COMMON_GRAMMAR_TRIGGER_TYPE_WORD: {
        const std::vector<Token> tokens = model.tokenize(trigger.value, false);
        if (tokens.size() == 1) {
          prompt.grammar_start.trigger_tokens.push_back(tokens.front());
        } else {
          prompt.grammar_start.trigger_patterns.push_back(regex_escape(trigger.value));
        }
        break;
      }
      case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN:
        prompt.grammar_start.trigger_patterns.push_back(trigger.value);
        break;
      case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL: {
        prompt.grammar_start.trigger_patterns.push_back("^" + trigger.value + "$");
        break;
      }
    }
  }
}

}  // namespace

Result<RenderedPrompt> ChatTemplate::render(const pb::Chat& chat, const pb::Format& format) const {
  if (!chat.go_template().empty()) return render_go(chat, format);
  auto grammar = grammar_for(format);
  if (!grammar) return std::move(grammar).error();
  RenderedPrompt prompt;
  if (!parts_->present) {
    prompt.text = concatenated(chat);
    prompt.grammar = std::move(*grammar);
    return prompt;
  }
  const bool think = chat.thinking() == pb::THINKING_ON;
  const bool tools = !chat.tools_json().empty();
  try {
    common_chat_templates_inputs inputs;
    for (const pb::Message& message : chat.messages()) inputs.messages.push_back(to_common(message));
    if (tools) inputs.tools = common_chat_tools_parse_oaicompat(common_json::parse(chat.tools_json()));
    inputs.parallel_tool_calls = tools;
    inputs.enable_thinking = think;
    inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    if (!chat.think_level().empty()) {
      inputs.chat_template_kwargs["reasoning_effort"] = "\"" + chat.think_level() + "\"";
    }
    // A plain conversation needs no parser, and so none of the renders that it takes to make one.
    const bool plain = !think && !tools && !parts_->specialized;
    inputs.force_pure_content = plain;
    const common_chat_params params = common_chat_templates_apply(parts_->templates.get(), inputs);
    prompt.text = params.prompt;
    if (!plain) read_syntax(parts_->model, params, tools || parts_->specialized, prompt);
  } catch (const std::exception& error) {
    return invalid(error.what());
  }
  if (!grammar->empty() && !tools) {
    prompt.grammar = std::move(*grammar);
    if (prompt.syntax.kind == OutputSyntax::Kind::kThinking) {
      prompt.grammar_start = {GrammarStart::Kind::kAfterText, prompt.syntax.thinking_end, {}, {}};
    }
  }
  return prompt;
}

}  // namespace drover
