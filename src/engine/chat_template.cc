#include "engine/chat_template.h"

#include <fmt/chrono.h>
#include <llama.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <exception>
#include <map>
#include <mutex>

#include "base/mutex.h"
#include "base/text.h"
#include "chat-auto-parser.h"
#include "chat.h"
#include "engine/bounded_cache.h"
#include "engine/conversation_form.h"
#include "engine/gbnf.h"
#include "engine/go_prompt.h"
#include "engine/llama_model.h"
#include "engine/schema_grammar.h"
#include "engine/template_error.h"
#include "engine/template_source.h"
#include "engine/thought_tags.h"
#include "schema/plain_types.h"

namespace drover {
namespace {

constexpr std::size_t kSyntaxesCachedMax = 64;

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

// Other names of the switch enable_thinking, which llama.cpp sets itself; values as JSON.
std::map<std::string, std::string> thinking_switches(bool think) {
  return {{"thinking", think ? "true" : "false"}, {"thinking_mode", think ? "\"enabled\"" : "\"disabled\""}};
}

// Whether `text`, without white space at its end, ends in these words. `words` is not empty.
bool ends_in(std::string_view text, std::string_view words) {
  return !words.empty() && trimmed(text).ends_with(words);
}

// Variables of a template in addition to the messages; values are JSON.
void add_context(const std::map<std::string, std::string>& values, autoparser::generation_params& params) {
  params.extra_context = common_json::parse("{}");
  for (const auto& [name, value] : values) params.extra_context[name] = common_json::parse(value);
}

// If a template has an id between a call's name and its arguments, llama.cpp takes the mark before the arguments for a
// part of the name too, and would expect it twice.
void count_marks_once(autoparser::analyze_tools& tools) {
  std::string& after_name = tools.function.name_suffix;
  const bool id_between = tools.call_id.pos == autoparser::call_id_position::BETWEEN_FUNC_AND_ARGS;
  if (id_between && (after_name == tools.call_id.suffix || after_name == tools.arguments.start)) after_name.clear();
}

std::string concatenated(const pb::Chat& chat) {
  std::string text;
  for (const pb::Message& message : chat.messages()) {
    if (!text.empty()) text += "\n";
    text += message.content();
  }
  return text;
}

}  // namespace

// One variant of a model's template, with llama.cpp's analysis, which renders it in many ways. The analysis is done
// once. Its result for a request depends only on the request's tools and on thinking.
struct TemplateVariant {
  TemplateVariant(const std::string& source, const std::string& bos, const std::string& eos) : jinja(source, bos, eos) {
    autoparser::generation_params probe;
    probe.messages = common_json::parse(kHello);
    probe.add_generation_prompt = true;
    specialized = common_chat_try_specialized_template(jinja, source, probe).has_value();
    if (!specialized) {
      analysis.analyze_template(jinja);
      count_marks_once(analysis.tools);
    }
    probe.enable_thinking = false;
    add_context(thinking_switches(false), probe);
    const std::string end = common_chat_template_direct_apply(jinja, probe);
    wraps_content = analysis.content.mode != autoparser::content_mode::PLAIN;
    opens_thought = ends_in(end, thinking_start()) || !opened_thought(end).start.empty();
    const bool trims = source.find("You have access to the following functions in JSONSchema format") != source.npos;
    takes_text_as_it_is = jinja.original_caps().supports_system_role && !trims;
  }
  static constexpr const char* kHello = R"([{"role":"user","content":"Hello"}])";

  std::string thinking_start() const { return std::string(trimmed(analysis.reasoning.start)); }

  common_chat_template jinja;
  bool specialized = false;          // llama.cpp has a hand-written parser for it: the output is never plain
  autoparser::autoparser analysis;   // if there is no hand-written parser
  bool opens_thought = false;        // the prompt ends inside thinking, even if thinking is off
  bool wraps_content = false;        // answers are text between tags
  bool takes_text_as_it_is = false;  // llama.cpp does not change text messages before it renders them
  std::once_flag probed;
  TemplateHabits habits;  // valid once `probed`
};

struct ChatTemplate::Parts {
  explicit Parts(const LlamaModel& of) : model(of) {}

  TemplateVariant& variant(bool tools) const { return tools && for_tools ? *for_tools : *plain; }
  common_chat_params rendered(const common_chat_templates_inputs& inputs) const {
    const bool mended = mended_for_tools != nullptr && !inputs.tools.empty();
    return common_chat_templates_apply(mended ? mended_for_tools.get() : templates.get(), inputs);
  }
  common_chat_templates_inputs inputs_of(const pb::Chat& chat) const;
  const TemplateHabits& habits(bool tools) const;
  common_chat_params parameters(const common_chat_templates_inputs& inputs, const pb::Chat& chat);
  common_chat_params apply(const common_chat_templates_inputs& inputs, const pb::Chat& chat) const;
  std::shared_ptr<const common_chat_params> syntax(const common_chat_templates_inputs& inputs, const pb::Chat& chat,
                                                   const std::string& generation_prompt);

  std::optional<std::string> text_only(const pb::Chat& chat) const;

  const LlamaModel& model;
  bool present = false;  // the model has a template of its own
  common_chat_templates_ptr templates;
  common_chat_templates_ptr mended_for_tools;  // in place of it if there are tools, see template_source.h; or null
  std::unique_ptr<TemplateVariant> plain;
  std::unique_ptr<TemplateVariant> for_tools;  // null: the same as `plain`

  Mutex mutex;
  BoundedCache<std::shared_ptr<const common_chat_params>> syntaxes GUARDED_BY(mutex){kSyntaxesCachedMax};
  int parsers_made GUARDED_BY(mutex) = 0;
};

common_chat_templates_inputs ChatTemplate::Parts::inputs_of(const pb::Chat& chat) const {
  common_chat_templates_inputs inputs;
  for (const pb::Message& message : chat.messages()) inputs.messages.push_back(to_common(message));
  const bool tools = !chat.tools_json().empty();
  if (tools) inputs.tools = common_chat_tools_parse_oaicompat(common_json::parse(chat.tools_json()));
  inputs.parallel_tool_calls = tools && !chat.one_call();
  inputs.enable_thinking = chat.thinking() == pb::THINKING_ON;
  inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
  inputs.chat_template_kwargs = thinking_switches(inputs.enable_thinking);
  if (!chat.think_level().empty()) {
    inputs.chat_template_kwargs["reasoning_effort"] = "\"" + chat.think_level() + "\"";
  }
  return inputs;
}

// Probing takes a few milliseconds, so it is done once, for the first conversation that may need it.
const TemplateHabits& ChatTemplate::Parts::habits(bool tools) const {
  TemplateVariant& used = variant(tools);
  std::call_once(used.probed, [&] {
    used.habits = find_habits([&](const pb::Chat& chat) -> std::optional<std::string> {
      try {
        common_chat_templates_inputs inputs = inputs_of(chat);
        inputs.force_pure_content = !used.specialized;
        return rendered(inputs).prompt;
      } catch (const std::exception&) {
        return std::nullopt;
      }
    });
    if (!used.jinja.original_caps().supports_system_role)
      used.habits.system = used.habits.later_system = used.habits.last_system = false;
  });
  return used.habits;
}

// Applies llama.cpp's template to the inputs. The grammar is made from the tools in the form that a grammar can
// enforce, the prompt from the tools as they were sent.
common_chat_params ChatTemplate::Parts::apply(const common_chat_templates_inputs& inputs, const pb::Chat& chat) const {
  const auto kept = inputs.tools.empty() ? nullptr : kept_tools(chat.tools_json());
  if (kept == nullptr || kept->same) return rendered(inputs);
  common_chat_templates_inputs bound = inputs;
  bound.tools = kept->tools;
  common_chat_params params = rendered(bound);
  params.grammar = kept->rewriter.complete(params.grammar);
  // Plain content needs no parser, and so no grammar, which llama.cpp could refuse to make.
  common_chat_templates_inputs as_sent = inputs;
  for (const bool plainly : {false, true}) {
    as_sent.force_pure_content = plainly;
    try {
      params.prompt = rendered(as_sent).prompt;
      break;
    } catch (const std::exception&) {
      continue;
    }
  }
  return params;
}

// The same result as apply(), without analyzing the template again.
common_chat_params ChatTemplate::Parts::parameters(const common_chat_templates_inputs& inputs, const pb::Chat& chat) {
  if (variant(!inputs.tools.empty()).specialized) return apply(inputs, chat);
  common_chat_templates_inputs plainly = inputs;
  plainly.force_pure_content = true;
  common_chat_params prompt = rendered(plainly);
  const auto known = syntax(inputs, chat, prompt.generation_prompt);
  // The parser also reads the generation prompt. If that depends on the messages, the parser must be made for them.
  if (known->generation_prompt != prompt.generation_prompt) {
    return apply(inputs, chat);
  }
  common_chat_params params = *known;
  params.prompt = std::move(prompt.prompt);
  return params;
}

std::shared_ptr<const common_chat_params> ChatTemplate::Parts::syntax(const common_chat_templates_inputs& inputs,
                                                                      const pb::Chat& chat,
                                                                      const std::string& generation_prompt) {
  const std::string key = chat.tools_json() + '\0' + (inputs.enable_thinking ? '1' : '0') +
                          (inputs.tool_choice == COMMON_CHAT_TOOL_CHOICE_REQUIRED ? '1' : '0') +
                          (inputs.parallel_tool_calls ? '1' : '0') + chat.think_level() + '\0' + generation_prompt;
  const MutexLock lock(mutex);
  if (const auto* found = syntaxes.find(key)) return *found;
  const TemplateVariant& used = variant(!inputs.tools.empty());
  autoparser::generation_params params;
  params.messages = common_json::parse(TemplateVariant::kHello);
  const auto kept = inputs.tools.empty() ? nullptr : kept_tools(chat.tools_json());
  params.tools = common_chat_tools_to_json_oaicompat(kept != nullptr ? kept->tools : inputs.tools);
  params.tool_choice = inputs.tool_choice;
  params.parallel_tool_calls = inputs.parallel_tool_calls;
  params.reasoning_format = inputs.reasoning_format;
  params.enable_thinking = inputs.enable_thinking;
  params.add_generation_prompt = true;
  add_context(inputs.chat_template_kwargs, params);
  auto made = std::make_shared<common_chat_params>(
      autoparser::peg_generator::generate_parser(used.jinja, params, used.analysis));
  if (kept != nullptr) made->grammar = kept->rewriter.complete(made->grammar);
  ++parsers_made;
  made->supports_thinking = used.analysis.reasoning.mode != autoparser::reasoning_mode::NONE;
  if (made->supports_thinking) {
    made->thinking_start_tag = trimmed(used.analysis.reasoning.start);
    const std::string end(trimmed(used.analysis.reasoning.end));
    if (!end.empty()) made->thinking_end_tags = {end};
  }
  syntaxes.add(key, made);
  return made;
}

// The prompt of a conversation of plain text; nothing for other conversations. The result is that of
// common_chat_templates_apply(), which renders twice more to prepare a parser.
std::optional<std::string> ChatTemplate::Parts::text_only(const pb::Chat& chat) const {
  if (!plain->takes_text_as_it_is || !chat.think_level().empty()) return std::nullopt;
  autoparser::generation_params params;
  params.messages = common_json::array();
  for (const pb::Message& message : chat.messages()) {
    const std::string& role = message.role();
    const bool text = role == "system" || role == "user" || role == "assistant";
    if (!text || message.tool_calls_size() > 0 || !message.thinking().empty()) return std::nullopt;
    if (!message.tool_name().empty() || !message.tool_call_id().empty()) return std::nullopt;
    params.messages.push_back(to_common(message).to_json_oaicompat());
  }
  params.tools = common_chat_tools_to_json_oaicompat({});
  params.parallel_tool_calls = false;
  params.reasoning_format = COMMON_REASONING_FORMAT_NONE;
  params.enable_thinking = false;
  params.add_generation_prompt = true;
  params.add_bos = llama_vocab_get_add_bos(model.vocabulary());
  params.add_eos = llama_vocab_get_add_eos(model.vocabulary());
  const std::time_t now = std::chrono::system_clock::to_time_t(params.now);
  add_context(thinking_switches(false), params);
  params.extra_context["datetime"] = fmt::format("{:%b %d %Y}", fmt::localtime(now));
  params.extra_context["date_string"] = fmt::format("{:%d %b %Y}", fmt::localtime(now));
  return common_chat_template_direct_apply(plain->jinja, params);
}

ChatTemplate::ChatTemplate(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::create(const LlamaModel& model, const std::string& override) {
  auto parts = std::make_unique<Parts>(model);
  parts->present = !override.empty() || llama_model_chat_template(model.get(), nullptr) != nullptr;
  if (!parts->present) return std::unique_ptr<ChatTemplate>(new ChatTemplate(std::move(parts)));
  const auto piece = [&](Token token) {
    std::string text;
    if (token >= 0) model.append_piece(token, true, text);
    return text;
  };
  const std::string bos = piece(llama_vocab_bos(model.vocabulary()));
  const std::string eos = piece(llama_vocab_eos(model.vocabulary()));
  try {
    parts->templates = common_chat_templates_init(model.get(), override);
    const std::string source = common_chat_templates_source(parts->templates.get());
    const std::string for_tools = common_chat_templates_source(parts->templates.get(), "tool_use");
    const std::string mended = with_items_as_key(for_tools.empty() ? source : for_tools);
    if (mended != (for_tools.empty() ? source : for_tools)) {
      parts->mended_for_tools = common_chat_templates_init(model.get(), mended);
    }
    parts->plain = std::make_unique<TemplateVariant>(source, bos, eos);
    if (parts->mended_for_tools || !for_tools.empty()) {
      parts->for_tools = std::make_unique<TemplateVariant>(mended, bos, eos);
    }
  } catch (const std::exception& error) {
    return invalid(unusable_template(error.what()));
  }
  return std::unique_ptr<ChatTemplate>(new ChatTemplate(std::move(parts)));
}

bool ChatTemplate::present() const {
  return parts_->present;
}

int ChatTemplate::parsers_made() const {
  const MutexLock lock(parts_->mutex);
  return parts_->parsers_made;
}

namespace {

// Fills the parts of `prompt` that say how to read the output.
void read_syntax(const LlamaModel& model, const common_chat_params& params, const ThoughtTags& opened,
                 bool parser_needed, RenderedPrompt& prompt) {
  prompt.stops = params.additional_stops;
  const bool tags = params.supports_thinking && !params.thinking_end_tags.empty();
  if (parser_needed) {
    prompt.syntax.kind = OutputSyntax::Kind::kParser;
    prompt.syntax.format = static_cast<int>(params.format);
    prompt.syntax.parser = params.parser;
    prompt.syntax.generation_prompt = params.generation_prompt;
  } else if (tags) {
    prompt.syntax.kind = OutputSyntax::Kind::kThinking;
  }
  if (tags) {
    prompt.syntax.thinking_start = params.thinking_start_tag;
    prompt.syntax.thinking_end = params.thinking_end_tags.front();
    prompt.syntax.starts_in_thinking = ends_in(params.prompt, params.thinking_start_tag);
  }
  if (!opened.start.empty() && prompt.syntax.thinking_start.empty()) {
    if (!parser_needed) prompt.syntax.kind = OutputSyntax::Kind::kThinking;
    prompt.syntax.thinking_start = opened.start;
    prompt.syntax.thinking_end = opened.end;
    prompt.syntax.starts_in_thinking = true;
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
          prompt.grammar_start.trigger_words.push_back(trigger.value);
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

// For a template that shows tools but whose form of calls llama.cpp cannot detect: assumes JSON, which is nearly always
// right. `forced`: the output must be a call.
void read_json_calls(const std::string& source, const pb::Chat& chat, bool forced, RenderedPrompt& prompt) {
  OutputSyntax& syntax = prompt.syntax;
  syntax.kind = syntax.thinking_end.empty() ? OutputSyntax::Kind::kPlain : OutputSyntax::Kind::kThinking;
  syntax.tools_json = chat.tools_json();
  syntax.tool_tag = "{";
  for (const char* tag : {"<tool_call>", "<|tool_call|>"}) {
    if (source.find(tag) != std::string::npos) syntax.tool_tag = tag;
  }
  if (!forced) return;
  auto calls = json_calls_grammar(syntax.tool_tag, "arguments", chat.tools_json());
  if (!calls) throw std::invalid_argument(calls.error().message);
  prompt.grammar = std::move(*calls);
  prompt.grammar_start = after_thinking(syntax, chat.thinking() == pb::THINKING_ON);
}

// If the analysis says that plain content precedes the calls, and how a call begins, the output up to there can be read
// without the parser.
void read_tool_starts(const autoparser::autoparser& analysis, const common_chat_params& params, OutputSyntax& syntax) {
  const bool plain_content = analysis.content.mode == autoparser::content_mode::PLAIN;
  const bool tags_known = !params.supports_thinking || !syntax.thinking_start.empty();
  if (!plain_content || !tags_known) return;
  for (const common_grammar_trigger& trigger : params.grammar_triggers) {
    if (trigger.type != COMMON_GRAMMAR_TRIGGER_TYPE_WORD || trigger.value.empty()) {
      syntax.tool_starts.clear();
      return;
    }
    syntax.tool_starts.push_back(trigger.value);
  }
}

}  // namespace

namespace {

// `whole` up to the end of the last occurrence of `text`; nothing if it does not occur.
std::optional<std::string> cut_after(const std::string& whole, const std::string& text) {
  const std::string_view core = trimmed(text);
  const auto at = core.empty() ? std::string::npos : whole.rfind(core);
  if (at == std::string::npos) return std::nullopt;
  const auto end = text.find_last_not_of(kBlanks) + 1;
  return whole.substr(0, at + core.size()) + text.substr(end);
}

}  // namespace

GrammarStart after_thinking(const OutputSyntax& syntax, bool think) {
  GrammarStart start;
  if (syntax.thinking_end.empty() || syntax.begun == OutputSyntax::Begun::kContent) return start;
  if (!syntax.starts_in_thinking && !think) return start;
  start.kind = GrammarStart::Kind::kAfterText;
  start.text = syntax.thinking_end;
  if (!syntax.starts_in_thinking) start.opening = syntax.thinking_start;
  return start;
}

void go_on_from(const pb::Chat& chat, RenderedPrompt& prompt) {
  if (prompt.syntax.begun != OutputSyntax::Begun::kContent) return;
  const std::string& begun = chat.messages(chat.messages_size() - 1).content();
  prompt.grammar_start.text = begun.substr(std::min(begun.find_first_not_of(kBlanks), begun.size()));
}

// The prompt, and how to read its output. `chat` is in a form that the template supports. `schema`: an answer that is
// not a call must match a schema.
void ChatTemplate::render_jinja(const pb::Chat& chat, bool schema, RenderedPrompt& prompt) const {
  const bool think = chat.thinking() == pb::THINKING_ON;
  const bool tools = !chat.tools_json().empty();
  const TemplateVariant& variant = parts_->variant(tools);
  common_chat_templates_inputs inputs = parts_->inputs_of(chat);
  // A plain conversation needs no parser.
  const bool plain = !think && !tools && !variant.specialized && !variant.opens_thought && !variant.wraps_content;
  inputs.force_pure_content = plain;
  if (auto text = plain ? parts_->text_only(chat) : std::nullopt) {
    prompt.text = std::move(*text);
  } else if (plain) {
    prompt.text = parts_->rendered(inputs).prompt;
  }
  if (plain) {
    // A model may think even if thinking was not requested.
    prompt.syntax.thinking_start = variant.thinking_start();
    prompt.syntax.thinking_end = trimmed(variant.analysis.reasoning.end);
    const bool tags = !prompt.syntax.thinking_start.empty() && !prompt.syntax.thinking_end.empty();
    if (tags) prompt.syntax.kind = OutputSyntax::Kind::kThinking;
    return;
  }
  const common_chat_params params = parts_->parameters(inputs, chat);
  prompt.text = params.prompt;
  // The parser does not know thinking that only the end of the prompt shows.
  const ThoughtTags opened = opened_thought(params.prompt);
  const bool unknown_thought = params.thinking_start_tag.empty() && !opened.start.empty();
  const bool parser_needed = tools || variant.specialized || (variant.wraps_content && !unknown_thought);
  read_syntax(parts_->model, params, opened, parser_needed, prompt);
  if (tools && !variant.specialized) read_tool_starts(variant.analysis, params, prompt.syntax);
  if (!tools || (!chat.tool_required() && !schema && !params.grammar.empty())) return;
  // The grammar for a required call allows any text before it, and a model that does not want to call anything writes
  // that text forever. The grammar for an optional call begins with the call, but does not require one.
  inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_REQUIRED;
  const std::string required = parts_->parameters(inputs, chat).grammar;
  const std::string root = params.grammar_lazy ? gbnf::root_of(params.grammar) : std::string();
  const bool forced = chat.tool_required() || schema;
  if (required.empty() && params.grammar.empty()) read_json_calls(variant.jinja.source(), chat, forced, prompt);
  if (required.empty() || !forced) return;
  prompt.grammar = root.empty() ? required : gbnf::with_root(required, root);
  prompt.grammar_start = after_thinking(prompt.syntax, think);
}

// The prompt of a conversation that ends in an answer, which the model continues. The rendered answer is cut after the
// text that the client wrote. If the template does not show it, the text is appended where the model would begin.
void ChatTemplate::render_begun(const pb::Chat& chat, const pb::Message& begun, bool schema,
                                RenderedPrompt& prompt) const {
  const bool thought = begun.content().empty();
  const std::string& text = thought ? begun.thinking() : begun.content();
  pb::Chat before = chat;
  before.mutable_messages()->RemoveLast();
  render_jinja(before, schema, prompt);
  std::optional<std::string> continued;
  try {
    common_chat_templates_inputs inputs = parts_->inputs_of(chat);
    inputs.add_generation_prompt = false;
    inputs.force_pure_content = !parts_->variant(!chat.tools_json().empty()).specialized;
    continued = cut_after(parts_->rendered(inputs).prompt, text);
  } catch (const std::exception&) {
    // The template refuses the answer: treat it as not shown.
  }
  OutputSyntax& syntax = prompt.syntax;
  const ThoughtTags tags = {syntax.thinking_start, syntax.thinking_end};
  // A template may treat the text as open thinking.
  if (continued && !thought && is_thought_open(tags, continued->substr(0, continued->size() - text.size())))
    continued.reset();
  if (continued) {
    prompt.text = std::move(*continued);
  } else {
    if (thought && !syntax.starts_in_thinking) prompt.text += syntax.thinking_start;
    if (!thought && syntax.starts_in_thinking) prompt.text += closing(tags, prompt.text);
    prompt.text += text;
  }
  syntax.begun = thought ? OutputSyntax::Begun::kThinking : OutputSyntax::Begun::kContent;
  syntax.starts_in_thinking = thought;
  if (chat.tool_required()) prompt.grammar_start = after_thinking(syntax, chat.thinking() == pb::THINKING_ON);
  if (chat.tools_json().empty()) {
    const bool splits = thought && !syntax.thinking_end.empty();
    syntax.kind = splits ? OutputSyntax::Kind::kThinking : OutputSyntax::Kind::kPlain;
  } else {
    syntax.generation_prompt += text;
  }
}

namespace {

// The conversation with tools that more templates take; nothing where they are as plain already.
std::optional<pb::Chat> with_plain_tools(const pb::Chat& chat) {
  if (chat.tools_json().empty()) return std::nullopt;
  const auto tools = schema::plainly_typed(schema::Json::parse(chat.tools_json()));
  if (!tools) return std::nullopt;
  pb::Chat plain = chat;
  plain.set_tools_json(tools->dump());
  return plain;
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
    std::optional<pb::Chat> shaped;
    if (!is_in_turn(chat)) reshape(parts_->habits(tools), shaped.emplace(chat));
    const pb::Chat& used = shaped ? *shaped : chat;
    if (const pb::Message* begun = begun_answer(used)) {
      render_begun(used, *begun, !grammar->empty(), prompt);
    } else {
      render_jinja(used, !grammar->empty(), prompt);
    }
  } catch (const std::exception& error) {
    // One odd tool must not spoil the others.
    if (const auto plain = with_plain_tools(chat)) return render(*plain, format);
    return invalid(template_error(error.what()));
  }
  if (grammar->empty() || chat.tool_required()) return prompt;
  // With tools: a call, or JSON that matches the schema.
  prompt.grammar = prompt.grammar.empty() ? std::move(*grammar) : gbnf::either(*grammar, prompt.grammar);
  prompt.grammar_start = after_thinking(prompt.syntax, think);
  go_on_from(chat, prompt);
  return prompt;
}

}  // namespace drover
