// The chat templates that llama.cpp's source carries, rendered and taken apart by us and by llama.cpp.
#include "engine/chat_template.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <llama.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "chat.h"
#include "engine/cria_fixture.h"
#include "engine/output_fixture.h"

namespace drover {
namespace {

constexpr const char* kTools = R"([{"type":"function","function":{"name":"get_weather","description":"The weather",
  "parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},
  "required":["city"]}}}])";

pb::Chat chat_with_tools(bool think) {
  pb::Chat chat;
  pb::Message& system = *chat.add_messages();
  system.set_role("system");
  system.set_content("Be brief.");
  pb::Message& user = *chat.add_messages();
  user.set_role("user");
  user.set_content("How is the weather in Rome?");
  chat.set_tools_json(kTools);
  chat.set_thinking(think ? pb::THINKING_ON : pb::THINKING_OFF);
  return chat;
}

// Templates have several names for the switch.
void set_switches(common_chat_templates_inputs& inputs) {
  inputs.chat_template_kwargs["thinking"] = inputs.enable_thinking ? "true" : "false";
  inputs.chat_template_kwargs["thinking_mode"] = inputs.enable_thinking ? "\"enabled\"" : "\"disabled\"";
}

common_chat_templates_inputs inputs_of(const pb::Chat& chat) {
  common_chat_templates_inputs inputs;
  for (const pb::Message& message : chat.messages()) {
    common_chat_msg& into = inputs.messages.emplace_back();
    into.role = message.role();
    into.content = message.content();
    into.reasoning_content = message.thinking();
    for (const pb::ToolCall& call : message.tool_calls()) {
      into.tool_calls.push_back({call.name(), call.arguments_json(), call.id()});
    }
  }
  inputs.tools = common_chat_tools_parse_oaicompat(common_json::parse(chat.tools_json()));
  inputs.parallel_tool_calls = true;
  inputs.enable_thinking = chat.thinking() == pb::THINKING_ON;
  inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
  set_switches(inputs);
  return inputs;
}

struct Source {
  std::string name;
  std::string text;
};

const std::vector<Source>& sources() {
  static const std::vector<Source> all = [] {
    std::vector<Source> found;
    for (const auto& entry : std::filesystem::directory_iterator(DROVER_TEMPLATES)) {
      if (entry.path().extension() != ".jinja") continue;
      std::ifstream file(entry.path());
      std::stringstream text;
      text << file.rdbuf();
      found.push_back({entry.path().filename().string(), text.str()});
    }
    return found;
  }();
  return all;
}

// Every template; each fifth of them in a short run, as the sanitizers make it.
std::vector<Source> some_sources() {
  std::vector<Source> some;
  for (std::size_t i = 0; i < sources().size(); i += template_step()) some.push_back(sources()[i]);
  return some;
}

// llama.cpp wants [ARGS] twice in a call, see count_marks_once().
bool has_id_before_arguments(const Source& source) {
  return source.name == "Mistral-Small-3.2-24B-Instruct-2506.jinja";
}

// llama.cpp puts the system's text before the question with one line break, Drover with a blank line.
bool has_no_system_role(const Source& source) {
  return source.name == "google-gemma-2-2b-it.jinja";
}

// What llama.cpp itself makes of a chat; nothing where it refuses.
std::optional<common_chat_params> reference(const Source& source, const pb::Chat& chat) {
  try {
    const auto templates = common_chat_templates_init(cria().get(), source.text);
    return common_chat_templates_apply(templates.get(), inputs_of(chat));
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

TEST(ChatTemplate, MakesOfAnyTemplateWhatLlamaCppMakes) {
  ASSERT_GT(sources().size(), 20u);
  int compared = 0;
  for (const Source& source : sources()) {
    if (has_no_system_role(source) || has_id_before_arguments(source)) continue;
    auto chat_template = ChatTemplate::create(cria(), source.text);
    if (!chat_template) continue;
    for (const bool think : {false, true}) {
      const pb::Chat chat = chat_with_tools(think);
      const auto expected = reference(source, chat);
      for (int again = 0; again < 2; ++again) {
        const auto rendered = (*chat_template)->render(chat, {});
        ASSERT_EQ(rendered.ok(), expected.has_value()) << source.name;
        if (!expected) continue;
        EXPECT_EQ(rendered->text, expected->prompt) << source.name;
        EXPECT_EQ(rendered->grammar, expected->grammar) << source.name;
        EXPECT_EQ(rendered->syntax.parser, expected->parser) << source.name;
        EXPECT_EQ(rendered->syntax.generation_prompt, expected->generation_prompt) << source.name;
        EXPECT_EQ(rendered->stops, expected->additional_stops) << source.name;
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 100);
}

TEST(ChatTemplate, MakesOfTextWhatLlamaCppMakes) {
  using Texts = std::vector<std::pair<std::string, std::string>>;
  const std::vector<Texts> conversations = {
      {{"user", "  Hello there \n"}},
      {{"system", "Be kind. "}, {"user", "One"}, {"assistant", "Two <think>not</think>"}, {"user", "Three {{ 4 }}"}},
      {{"system", ""}, {"user", ""}},
  };
  int compared = 0;
  for (const Source& source : sources()) {
    if (has_no_system_role(source)) continue;
    auto chat_template = ChatTemplate::create(cria(), source.text);
    if (!chat_template) continue;
    for (const Texts& texts : conversations) {
      pb::Chat chat;
      for (const auto& [role, content] : texts) {
        pb::Message* message = chat.add_messages();
        message->set_role(role);
        message->set_content(content);
      }
      chat.set_thinking(pb::THINKING_OFF);
      common_chat_templates_inputs inputs;
      for (const auto& [role, content] : texts) {
        inputs.messages.emplace_back();
        inputs.messages.back().role = role;
        inputs.messages.back().content = content;
      }
      inputs.enable_thinking = false;
      inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
      set_switches(inputs);
      std::optional<std::string> expected;
      try {
        const auto templates = common_chat_templates_init(cria().get(), source.text);
        expected = common_chat_templates_apply(templates.get(), inputs).prompt;
      } catch (const std::exception&) {
      }
      const auto rendered = (*chat_template)->render(chat, {});
      ASSERT_EQ(rendered.ok(), expected.has_value()) << source.name;
      if (!expected) continue;
      EXPECT_EQ(rendered->text, *expected) << source.name;
      ++compared;
    }
  }
  EXPECT_GT(compared, 100);
}

TEST(ChatTemplate, MakesAParserOnceForTheSameTools) {
  const auto source = std::find_if(sources().begin(), sources().end(),
                                   [](const Source& s) { return s.name == "Qwen-Qwen3-0.6B.jinja"; });
  ASSERT_NE(source, sources().end());
  auto chat_template = ChatTemplate::create(cria(), source->text);
  ASSERT_TRUE(chat_template.ok());
  pb::Chat chat = chat_with_tools(false);
  for (int i = 0; i < 20; ++i) {
    chat.mutable_messages(1)->set_content(fmt::format("question {}", i));
    const auto rendered = (*chat_template)->render(chat, {});
    ASSERT_TRUE(rendered.ok()) << rendered.error().message;
    EXPECT_NE(rendered->text.find(fmt::format("question {}", i)), std::string::npos);
  }
  EXPECT_EQ((*chat_template)->parsers_made(), 1);
}

// ---- output

struct Answer {
  std::string content;
  std::string thinking;
  std::vector<std::string> calls;
  bool operator==(const Answer&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Answer& answer) {
  out << "content \"" << answer.content << "\" thinking \"" << answer.thinking << "\"";
  for (const std::string& call : answer.calls) out << " " << call;
  return out;
}

std::string canonical(const std::string& name, const std::string& arguments) {
  try {
    return name + " " + common_json::parse(arguments).dump();
  } catch (const std::exception&) {
    return name + " " + arguments;
  }
}

Answer take_apart(const OutputSyntax& syntax, std::string_view text, std::size_t piece, bool cut_off = false) {
  const OutputPiece out = take_apart_in_pieces(syntax, text, piece, cut_off);
  Answer answer = {out.content, out.thinking, {}};
  for (const ParsedToolCall& call : out.tool_calls) answer.calls.push_back(canonical(call.name, call.arguments_json));
  return answer;
}

// What a model with this template would write to say `content` and make two calls: the template shows it.
std::string written_calls(const Source& source, const pb::Chat& chat, const std::string& content) {
  pb::Chat answered = chat;
  pb::Message& assistant = *answered.add_messages();
  assistant.set_role("assistant");
  assistant.set_content(content);
  for (const char* city : {"Rome", "Oslo"}) {
    pb::ToolCall& call = *assistant.add_tool_calls();
    call.set_id("call00001");
    call.set_name("get_weather");
    call.set_arguments_json(fmt::format(R"({{"city":"{}","days":3}})", city));
  }
  try {
    const auto templates = common_chat_templates_init(cria().get(), source.text);
    common_chat_templates_inputs before = inputs_of(chat);
    common_chat_templates_inputs after = inputs_of(answered);
    before.force_pure_content = after.force_pure_content = true;
    after.add_generation_prompt = false;
    const std::string start = common_chat_templates_apply(templates.get(), before).prompt;
    const std::string all = common_chat_templates_apply(templates.get(), after).prompt;
    return all.compare(0, start.size(), start) == 0 ? all.substr(start.size()) : std::string();
  } catch (const std::exception&) {
    return {};
  }
}

// Taken apart as it comes, in pieces of any size, an output gives what llama.cpp's parser gives for the whole of it.
TEST(OutputParser, CallsComeOutAsLlamaCppReadsThem) {
  int compared = 0;
  int gated = 0;
  for (const Source& source : sources()) {
    auto chat_template = ChatTemplate::create(cria(), source.text);
    if (!chat_template) continue;
    const pb::Chat chat = chat_with_tools(false);
    const auto rendered = (*chat_template)->render(chat, {});
    if (!rendered.ok()) continue;
    for (const std::string content : {"", "Let me look that up.", "Is 1 < 2? [yes]"}) {
      std::string text = written_calls(source, chat, content);
      // The end-of-turn tokens after the calls are none of the output.
      std::optional<common_chat_msg> whole;
      common_chat_parser_params params;
      params.format = static_cast<common_chat_format>(rendered->syntax.format);
      params.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
      params.generation_prompt = rendered->syntax.generation_prompt;
      params.parser.load(rendered->syntax.parser);
      for (int cut = 0; cut < 24 && !text.empty() && !whole; ++cut, text.pop_back()) {
        try {
          auto message = common_chat_parse(text, false, params);
          if (message.tool_calls.size() == 2) whole = std::move(message);
          if (whole) break;
        } catch (const std::exception&) {
        }
      }
      if (!whole) continue;
      Answer expected = {std::string(trimmed(whole->content)), std::string(trimmed(whole->reasoning_content)), {}};
      for (const auto& call : whole->tool_calls) expected.calls.push_back(canonical(call.name, call.arguments));
      for (const std::size_t piece : {1, 2, 3, 7, 1000}) {
        EXPECT_EQ(take_apart(rendered->syntax, text, piece), expected)
            << source.name << " by " << piece << ": " << text;
      }
      ++compared;
      if (!rendered->syntax.tool_starts.empty()) ++gated;
    }
  }
  fmt::print("{} outputs with calls, {} of them in templates whose calls have a known beginning\n", compared, gated);
  EXPECT_GT(compared, 20);
  EXPECT_GT(gated, 10);
}

// Wherever an output is cut off, the calls that are handed out are whole.
TEST(OutputParser, ACallThatWasCutOffIsNotHandedOut) {
  std::size_t outputs = 0;
  for (const Source& source : some_sources()) {
    auto chat_template = ChatTemplate::create(cria(), source.text);
    if (!chat_template) continue;
    const pb::Chat chat = chat_with_tools(false);
    const auto rendered = (*chat_template)->render(chat, {});
    if (!rendered.ok()) continue;
    std::string text = written_calls(source, chat, "");
    std::vector<std::string> whole;
    // The end-of-turn tokens after the calls are none of the output.
    for (int over = 0; over < 24 && !text.empty() && whole.size() != 2; ++over) {
      whole = take_apart(rendered->syntax, text, 1000).calls;
      if (whole.size() != 2) text.pop_back();
    }
    if (whole.size() != 2) continue;
    ++outputs;
    for (std::size_t end = 0; end < text.size(); ++end) {
      const Answer cut = take_apart(rendered->syntax, std::string_view(text).substr(0, end), 1000, true);
      ASSERT_LE(cut.calls.size(), 2u);
      for (std::size_t i = 0; i < cut.calls.size(); ++i) {
        EXPECT_EQ(cut.calls[i], whole[i]) << source.name << ": " << text.substr(0, end);
      }
    }
  }
  EXPECT_GT(outputs, some_sources().size() / 4);
}

// ---- grammars

// Whether a model that wants to say nothing at all may do so. `rendered` binds from the first token on.
bool may_be_silent(const RenderedPrompt& rendered) {
  SamplerOptions options;
  options.temperature = 0;
  options.grammar = rendered.grammar;
  options.grammar_start = rendered.grammar_start;
  GrammarCache grammars(cria());
  auto sampler = Sampler::create(cria(), options, grammars);
  EXPECT_TRUE(sampler.ok()) << rendered.grammar;
  if (!sampler.ok()) return true;
  std::vector<float> logits(static_cast<std::size_t>(cria().vocabulary_size()), 0.0f);
  const Token end = llama_vocab_eos(cria().vocabulary());
  logits[static_cast<std::size_t>(end)] = 100;
  return (*sampler)->sample(logits.data()) == end;
}

pb::Format some_schema() {
  pb::Format format;
  format.set_kind(pb::Format::JSON_SCHEMA);
  format.set_schema_json(R"({"type":"object","properties":{"answer":{"type":"string"}},"required":["answer"]})");
  return format;
}

TEST(ChatTemplate, ACallThatIsRequiredHasToCome) {
  std::size_t forced = 0;
  std::string without;
  for (const Source& source : some_sources()) {
    auto chat_template = ChatTemplate::create(cria(), source.text);
    if (!chat_template) continue;
    pb::Chat chat = chat_with_tools(false);
    chat.set_tool_required(true);
    const auto rendered = (*chat_template)->render(chat, {});
    if (!rendered.ok()) continue;
    if (rendered->grammar.empty()) {
      without += " " + source.name;
      continue;
    }
    ++forced;
    if (rendered->grammar_start.kind != GrammarStart::Kind::kAtOnce) continue;
    EXPECT_FALSE(may_be_silent(*rendered)) << source.name << "\n" << rendered->grammar;
  }
  fmt::print("{} templates have calls; without:{}\n", forced, without);
  EXPECT_GT(forced, some_sources().size() * 2 / 3);
}

TEST(ChatTemplate, ASchemaHoldsBesideTools) {
  for (const Source& source : some_sources()) {
    auto chat_template = ChatTemplate::create(cria(), source.text);
    if (!chat_template) continue;
    const auto rendered = (*chat_template)->render(chat_with_tools(false), some_schema());
    if (!rendered.ok()) continue;
    EXPECT_NE(rendered->grammar.find("answer"), std::string::npos) << source.name;
    if (rendered->grammar_start.kind != GrammarStart::Kind::kAtOnce) continue;
    EXPECT_FALSE(may_be_silent(*rendered)) << source.name;
  }
}

// A long answer, in tokens of four bytes: what the parser reads for a token does not grow with the length.
TEST(OutputParser, ATokenCostsTheSameHoweverLongTheOutput) {
  int templates = 0;
  for (const Source& source : sources()) {
    auto chat_template = ChatTemplate::create(cria(), source.text);
    if (!chat_template) continue;
    const auto rendered = (*chat_template)->render(chat_with_tools(false), {});
    if (!rendered.ok() || rendered->syntax.kind != OutputSyntax::Kind::kParser) continue;
    const bool known = !rendered->syntax.tool_starts.empty();
    if (!known && templates > 3) continue;  // the parser's own form is the same in all of them
    ++templates;
    OutputParser parser(rendered->syntax, {});
    std::string content;
    std::size_t before = 0;
    constexpr int kTokens = 8000;
    for (int token = 0; token < kTokens; ++token) {
      OutputPiece piece;
      parser.push(token % 16 == 15 ? ".\n\n " : "word", piece);
      content += piece.content + piece.thinking;
      if (token == kTokens / 2) before = parser.parsed_bytes();
    }
    const std::size_t late = parser.parsed_bytes() - before;
    EXPECT_LE(late, known ? 0u : 256u * 4 * (kTokens / 2 + 1)) << source.name;
    if (known) {
      EXPECT_GT(content.size(), 4 * kTokens - 200) << source.name << ": it comes at once";
    }
    OutputPiece rest;
    parser.finish(false, rest);
    EXPECT_GT(content.size() + rest.content.size() + rest.thinking.size(), 4 * kTokens - 100) << source.name;
  }
  EXPECT_GT(templates, 10);
}

// The same within calls: many of them, one after the other, each sent when the next has begun.
TEST(OutputParser, ManyCallsCostTheirLength) {
  const auto source = std::find_if(sources().begin(), sources().end(),
                                   [](const Source& s) { return s.name == "Qwen-Qwen3-0.6B.jinja"; });
  ASSERT_NE(source, sources().end());
  auto chat_template = ChatTemplate::create(cria(), source->text);
  ASSERT_TRUE(chat_template.ok());
  const auto rendered = (*chat_template)->render(chat_with_tools(false), {});
  ASSERT_TRUE(rendered.ok());
  ASSERT_FALSE(rendered->syntax.tool_starts.empty());
  std::string text;
  for (int i = 0; i < 200; ++i) {
    text += "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>\n";
  }
  OutputParser parser(rendered->syntax, {});
  OutputPiece out;
  for (std::size_t at = 0; at < text.size(); at += 4) parser.push(std::string_view(text).substr(at, 4), out);
  EXPECT_GT(out.tool_calls.size(), 150u) << "they come before the end";
  EXPECT_LE(parser.parsed_bytes(), 17 * text.size());
  parser.finish(false, out);
  EXPECT_EQ(out.tool_calls.size(), 200u);
  EXPECT_EQ(out.content, "");
}

}  // namespace
}  // namespace drover
