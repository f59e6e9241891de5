// Every chat format: the templates that llama.cpp's source carries × the conversations of tests/formats. What is
// expected comes from another renderer than ours, see tests/formats/expected.mjs, which says also what a user may
// expect where a template refuses a conversation or leaves part of it out.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <llama.h>

#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/chat_template.h"
#include "engine/cria_fixture.h"
#include "engine/output_fixture.h"

namespace drover {
namespace {

using nlohmann::json;

// Where ours is not what the other renderer gives, and why that is right: a conversation, or a kind of output.
struct Exception {
  std::string_view source;
  std::string_view conversation;
  std::string_view reason;
};
constexpr std::string_view kGemmaResults = "it shows results rightly only as `tool_responses` of the call's message";
constexpr std::string_view kDistill = "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja";
constexpr std::string_view kDistillCalls =
    "it wants null for the text beside a call; llama.cpp gives it an empty text, and has no parser for its calls, "
    "which "
    "are told in words";
constexpr std::string_view kGrammarOfIds =
    "llama.cpp's grammar and its parser take a form that the template does not show: a fixed id";
constexpr Exception kExceptions[] = {
    {"google-gemma-4-31B-it-interleaved.jinja", "call and result", kGemmaResults},
    {"google-gemma-4-31B-it-interleaved.jinja", "two calls", kGemmaResults},
    {"google-gemma-4-31B-it-interleaved.jinja", "no ids", kGemmaResults},
    {"google-gemma-4-31B-it-interleaved.jinja", "ids of Drover", kGemmaResults},
    {"google-gemma-4-31B-it-interleaved.jinja", "ids of Anthropic", kGemmaResults},
    {"google-gemma-4-31B-it-interleaved.jinja", "a call after a thought", kGemmaResults},
    {"google-gemma-4-31B-it-interleaved.jinja", "call, result and a question", kGemmaResults},
    {kDistill, "call and result", kDistillCalls},
    {kDistill, "call, result and a question", kDistillCalls},
    {kDistill, "two calls", kDistillCalls},
    {kDistill, "no ids", kDistillCalls},
    {kDistill, "ids of Drover", kDistillCalls},
    {kDistill, "ids of Anthropic", kDistillCalls},
    {kDistill, "a call after a thought", kDistillCalls},
    {kDistill, "thinking_and_tool_call", kDistillCalls},
    {"upstage-Solar-Open-100B.jinja", "tool_call", kGrammarOfIds},
};

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Empty: node or the package is missing. What node says of it is on stderr.
const json& expected() {
  static const json all = [] {
    const std::string command = std::string("node '") + DROVER_FORMATS "/expected.mjs' '" + DROVER_TEMPLATES "'";
    std::string text;
    FILE* out = popen(command.c_str(), "r");
    if (out == nullptr) return json();
    std::array<char, 65536> piece;
    while (const std::size_t size = fread(piece.data(), 1, piece.size(), out)) text.append(piece.data(), size);
    return pclose(out) == 0 ? json::parse(text) : json();
  }();
  return all;
}

#define REQUIRE_EXPECTED()                                                                                         \
  ASSERT_FALSE(expected().is_null()) << "tests/formats/expected.mjs did not run: it needs node, and the packages " \
                                        "of tests/e2e (npm ci in that folder; ./dev setup does it)"

// In the order in which a client gave it.
const nlohmann::ordered_json& data() {
  static const auto all = nlohmann::ordered_json::parse(read_file(DROVER_FORMATS "/conversations.json"));
  return all;
}

// The templates' names: all of them, or a few for a run under a sanitizer.
const std::vector<std::string>& sources() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    std::size_t at = 0;
    for (const auto& [name, of] : expected().items()) {
      if (at++ % template_step() == 0) all.push_back(name);
    }
    return all;
  }();
  return names;
}

// Null: it cannot be read.
const ChatTemplate* chat_template(const std::string& source) {
  static std::map<std::string, std::unique_ptr<ChatTemplate>> all;
  if (const auto known = all.find(source); known != all.end()) return known->second.get();
  auto made = ChatTemplate::create(cria(), read_file(DROVER_TEMPLATES "/" + source));
  return (all[source] = made ? std::move(*made) : nullptr).get();
}

// As the API's translations make it: a result knows the name of its tool.
pb::Chat chat_of(const json& conversation) {
  pb::Chat chat;
  std::map<std::string, std::string> names;
  for (const json& message : conversation["messages"]) {
    pb::Message& into = *chat.add_messages();
    into.set_role(message["role"]);
    into.set_content(message["content"]);
    into.set_thinking(message.value("reasoning_content", ""));
    into.set_tool_call_id(message.value("tool_call_id", ""));
    into.set_tool_name(message.value("tool_name", names[into.tool_call_id()]));
    for (const json& call : message.value("tool_calls", json::array())) {
      pb::ToolCall& made = *into.add_tool_calls();
      made.set_id(call.value("id", ""));
      made.set_name(call["function"]["name"]);
      made.set_arguments_json(call["function"]["arguments"]);
      names[made.id()] = made.name();
    }
  }
  if (conversation.value("tools", false)) chat.set_tools_json(data()["tools"].dump());
  chat.set_tool_required(conversation.value("required", false));
  const json thinking = conversation.value("thinking", json(false));
  chat.set_thinking(thinking.is_null() ? pb::THINKING_UNSET : thinking ? pb::THINKING_ON : pb::THINKING_OFF);
  return chat;
}

pb::Format format_of(const json& conversation) {
  pb::Format format;
  if (!conversation.value("format", false)) return format;
  format.set_kind(pb::Format::JSON_SCHEMA);
  format.set_schema_json(data()["schema"].dump());
  return format;
}

// ---- comparing prompts

// "\x02" "%Y-%m-%d" "\x02" in the expected text stands for today.
std::string with_dates(const std::string& text, std::time_t now) {
  std::string out;
  std::size_t at = 0;
  for (std::size_t start; (start = text.find('\x02', at)) != text.npos;) {
    const std::size_t end = text.find('\x02', start + 1);
    std::array<char, 64> day;
    const std::string form = text.substr(start + 1, end - start - 1);
    const std::size_t size = std::strftime(day.data(), day.size(), form.c_str(), std::localtime(&now));
    out += text.substr(at, start - at) + std::string(day.data(), size);
    at = end + 1;
  }
  return out + text.substr(at);
}

// "\x01" "0" "\x01" stands for any id, the same at each place of that number and no other's. Returns where `actual`
// begins to differ, or npos.
std::size_t difference(const std::string& wanted, const std::string& actual) {
  std::map<std::string, std::string> ids;
  std::size_t at = 0;
  std::size_t in = 0;
  while (at < wanted.size()) {
    if (wanted[at] != '\x01') {
      if (in >= actual.size() || wanted[at] != actual[in]) return in;
      ++at, ++in;
      continue;
    }
    const std::size_t end = wanted.find('\x01', at + 1);
    const std::string number = wanted.substr(at + 1, end - at - 1);
    at = end + 1;
    const std::string next = wanted.substr(at, std::min<std::size_t>(wanted.find('\x01', at) - at, 4));
    const std::size_t stop = next.empty() ? actual.size() : actual.find(next, in + 1);
    if (stop == actual.npos) return in;
    const std::string id = actual.substr(in, stop - in);
    for (const char c : id) {
      if (!std::isalnum(static_cast<unsigned char>(c)) && !strchr("_-.:", c)) return in;
    }
    for (const auto& [other, theirs] : ids) {
      if ((other == number) != (theirs == id)) return in;
    }
    ids[number] = id;
    in = stop;
  }
  return in == actual.size() ? std::string::npos : in;
}

std::string excerpt(const std::string& text, std::size_t at) {
  return json(text.substr(at < 40 ? 0 : at - 40, 110)).dump(-1, ' ', false, json::error_handler_t::replace);
}

// Empty: it is one of the texts.
std::string compare(const json& texts, const std::string& actual) {
  std::string best;
  std::size_t furthest = 0;
  for (const json& each : texts) {
    const std::string wanted = with_dates(each, std::time(nullptr));
    const std::size_t at = difference(wanted, actual);
    if (at == std::string::npos) return {};
    if (best.empty() || at > furthest) {
      best = fmt::format("at {}: wanted {}, is {}", at, excerpt(wanted, at), excerpt(actual, at));
      furthest = at;
    }
  }
  return best;
}

bool says_everything(const pb::Chat& chat, const std::string& text) {
  for (const pb::Message& message : chat.messages()) {
    if (text.find(message.content()) == text.npos) return false;
    for (const pb::ToolCall& call : message.tool_calls()) {
      if (text.find(json::parse(call.arguments_json())["city"]) == text.npos) return false;
    }
  }
  return true;
}

// Whether an answer may end before it has begun.
bool may_be_empty(const RenderedPrompt& prompt) {
  GrammarCache grammars(cria());
  auto sampler = grammars.sampler(prompt.grammar, {});
  if (!sampler) return true;
  llama_token_data end = {llama_vocab_eos(cria().vocabulary()), 1.0f, 0.0f};
  llama_token_data_array only = {&end, 1, -1, false};
  llama_sampler_apply(sampler->get(), &only);
  return end.logit == 1.0f;
}

constexpr const char* kNoForm = "the model has no form for it";

// What is wrong with what ours makes of a conversation; empty: nothing. {how} it counts otherwise.
std::string check_prompt(const std::string& source, const json& conversation, const json& wanted, std::string& how) {
  how = "match";
  const ChatTemplate* ours = chat_template(source);
  if (ours == nullptr) return "refused: the template cannot be read";
  const pb::Chat chat = chat_of(conversation);
  const auto rendered = ours->render(chat, format_of(conversation));
  // The model has no way to say this: the server may say so, or find words for it.
  if (wanted.contains("error") || wanted.contains("lost")) {
    how = kNoForm;
    if (!rendered) return rendered.error().message.find('\n') == std::string::npos ? "" : "refused with noise";
    if (says_everything(chat, rendered->text)) return {};
    if (wanted.contains("error")) return "lost: part of the messages";
    return compare(wanted["text"], rendered->text);
  }
  if (!rendered) return "refused: " + json(rendered.error().message).dump();
  json texts = wanted["text"];
  for (const json& other : wanted.value("or", json::array())) texts.push_back(other);
  if (const std::string problem = compare(texts, rendered->text); !problem.empty()) {
    return (says_everything(chat, rendered->text) ? "different " : "lost ") + problem;
  }
  if (conversation.value("format", false) && rendered->grammar.find("answer") == std::string::npos) {
    return "the grammar does not hold the schema";
  }
  if (!chat.tool_required()) return {};
  if (!expected()[source]["takes_tools"]) {
    how = kNoForm;
    return {};
  }
  if (rendered->grammar.empty()) return "nothing requires a call";
  if (rendered->grammar_start.kind == GrammarStart::Kind::kOnTrigger) return "the call is required only once it began";
  return may_be_empty(*rendered) ? "the grammar that requires a call lets it be left out" : "";
}

const Exception* exception_of(const std::string& source, const std::string& conversation) {
  for (const Exception& each : kExceptions) {
    if (each.source == source && each.conversation == conversation) return &each;
  }
  return nullptr;
}

bool is_prompt(std::string_view conversation) {
  const auto is_named = [&](const json& each) { return each["name"] == conversation; };
  const json& all = data()["conversations"];
  return std::any_of(all.begin(), all.end(), is_named);
}

// Fails for each exception, of those for prompts or for outputs, without which nothing would have failed.
void expect_needed(bool for_prompts, const std::set<const Exception*>& needed) {
  for (const Exception& each : kExceptions) {
    const bool looked_at = std::find(sources().begin(), sources().end(), each.source) != sources().end();
    if (looked_at && is_prompt(each.conversation) == for_prompts && needed.count(&each) == 0) {
      ADD_FAILURE() << each.source << " | " << each.conversation << " | needs no exception any more";
    }
  }
}

TEST(ChatFormats, Prompts) {
  REQUIRE_EXPECTED();
  ASSERT_GT(expected().size(), 60u);
  std::set<const Exception*> needed;
  std::map<std::string, std::map<std::string, int>> counts;
  for (const std::string& source : sources()) {
    const json& wanted = expected()[source];
    ASSERT_TRUE(wanted.contains("prompts")) << source << ": " << wanted;
    for (const json conversation : data()["conversations"]) {
      const std::string name = conversation["name"];
      std::string how;
      const std::string problem = check_prompt(source, conversation, wanted["prompts"][name], how);
      if (const Exception* exception = exception_of(source, name)) {
        if (!problem.empty()) needed.insert(exception);
        how = "exception";
      } else if (!problem.empty()) {
        how = "mismatch";
        ADD_FAILURE() << source << " | " << name << " | " << problem;
      }
      ++counts[name][how];
    }
  }
  expect_needed(true, needed);
  fmt::print("{:32} {:>8} {:>8} {:>10} {:>8}\n", "conversation", "match", "no form", "exception", "mismatch");
  for (auto& [name, of] : counts) {
    fmt::print("{:32} {:8} {:8} {:10} {:8}\n", name, of["match"], of[kNoForm], of["exception"], of["mismatch"]);
  }
}

// ---- outputs

struct Answer {
  std::string content;
  std::string thinking;
  std::vector<std::pair<std::string, json>> calls;
  bool operator==(const Answer&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Answer& answer) {
  out << "content " << json(answer.content) << " thinking " << json(answer.thinking);
  for (const auto& [name, arguments] : answer.calls) out << " " << name << arguments;
  return out;
}

Answer take_apart(const OutputSyntax& syntax, std::string_view text, std::size_t piece, bool cut_off = false) {
  const OutputPiece out = take_apart_in_pieces(syntax, text, piece, cut_off);
  Answer answer = {out.content, out.thinking, {}};
  for (const ParsedToolCall& call : out.tool_calls) {
    answer.calls.emplace_back(call.name, json::parse(call.arguments_json, nullptr, false));
  }
  return answer;
}

const json kArguments = {{"city", "Roma"}, {"days", 35}};

// A text that a model would write in the form of its template.
struct Output {
  std::string name;
  const OutputSyntax& syntax;  // to read it by
  std::string text;
  Answer answer;               // what it says
  const Exception* exception;  // null: there is none
};

template <typename Check>
void for_each_output(const Check& check) {
  const std::pair<const char*, json> modes[] = {{"off", false}, {"on", true}};
  for (const std::string& source : sources()) {
    const json& wanted = expected()[source];
    const ChatTemplate* ours = chat_template(source);
    if (ours == nullptr) continue;
    for (const auto& [mode, thinking] : modes) {
      for (const auto& [kind, output] : wanted["outputs"][mode].items()) {
        if (!output.contains("text")) continue;
        const bool calls = kind.find("tool_call") != kind.npos;
        json conversation = {{"tools", calls}, {"thinking", thinking}};
        conversation["messages"] = {{{"role", "user"}, {"content", "How is the weather in Rome?"}}};
        const auto rendered = ours->render(chat_of(conversation), {});
        if (!rendered) continue;
        Answer answer;
        if (!calls) answer.content = "Paris.";
        if (kind.find("thinking") != kind.npos) answer.thinking = "hmm";
        if (calls) answer.calls.emplace_back("get_weather", kArguments);
        check(Output{fmt::format("{} | {} | thinking {}", source, kind, mode), rendered->syntax,
                     output["text"].template get<std::string>(), answer, exception_of(source, kind)});
      }
    }
  }
}

TEST(ChatFormats, Outputs) {
  REQUIRE_EXPECTED();
  std::size_t compared = 0;
  std::set<const Exception*> needed;
  for_each_output([&](const Output& output) {
    ++compared;
    for (const std::size_t piece : {std::size_t{3}, output.text.size()}) {
      const Answer taken = take_apart(output.syntax, output.text, piece);
      if (taken == output.answer) continue;
      if (output.exception != nullptr) {
        needed.insert(output.exception);
        continue;
      }
      ADD_FAILURE() << output.name << " | by " << piece << ": wanted " << output.answer << ", is " << taken << ", of "
                    << json(output.text);
      break;
    }
  });
  expect_needed(false, needed);
  fmt::print("{} outputs\n", compared);
  EXPECT_GT(compared, 3 * sources().size());
}

std::string_view without_blanks_behind(std::string_view text) {
  return text.substr(0, text.find_last_not_of(" \n") + 1);
}

// However an output is cut: a call whose arguments were not finished is never handed out, as a call or as text.
TEST(ChatFormats, CutCalls) {
  REQUIRE_EXPECTED();
  std::size_t cuts = 0;
  for_each_output([&](const Output& output) {
    if (output.exception != nullptr || output.answer.calls.empty()) return;
    std::size_t begin = output.text.find("get_weather");
    for (const std::string& start : output.syntax.tool_starts) {
      if (const std::size_t at = output.text.find(start); at != std::string::npos) begin = std::min(begin, at + 4);
    }
    if (begin == std::string::npos) return;
    for (std::size_t end = begin; end < output.text.size(); ++end) {
      ++cuts;
      const std::string cut = output.text.substr(0, end);
      const Answer taken = take_apart(output.syntax, cut, 4, true);
      const bool whole_or_none = taken.calls.empty() || taken.calls == output.answer.calls;
      if (whole_or_none && output.answer.content.starts_with(without_blanks_behind(taken.content))) continue;
      ADD_FAILURE() << output.name << " | cut: handed out " << taken << " of "
                    << json(cut).dump(-1, ' ', false, json::error_handler_t::replace);
      break;
    }
  });
  fmt::print("{} cuts\n", cuts);
  EXPECT_GT(cuts, 100 * sources().size());
}

// Clients and servers that shorten a conversation leave a result without its call or a call without its result, people
// ask before there is an answer, and programs have nothing to say but instructions.
TEST(ChatFormats, ConversationsThatWereCut) {
  REQUIRE_EXPECTED();
  const json call = {{"id", "a1b2c3d4e"}, {"function", {{"name", "get_weather"}, {"arguments", R"({"city":"Roma"})"}}}};
  const std::map<char, json> kinds = {
      {'s', {{"role", "system"}}},
      {'u', {{"role", "user"}}},
      {'c', {{"role", "assistant"}, {"tool_calls", json::array({call})}}},
      {'t', {{"role", "tool"}, {"tool_call_id", "a1b2c3d4e"}}},
  };
  for (const std::string& source : sources()) {
    const ChatTemplate* ours = chat_template(source);
    if (ours == nullptr) continue;
    for (const std::string turns : {"s", "uctu", "ucu", "tu", "utu"}) {
      json conversation = {{"messages", json::array()}};
      for (const char turn : turns) {
        json message = kinds.at(turn);
        message["content"] = turn == 'c' ? "" : fmt::format("Text {}", conversation["messages"].size());
        conversation["messages"].push_back(std::move(message));
      }
      const auto rendered = ours->render(chat_of(conversation), {});
      if (!rendered) {
        ADD_FAILURE() << source << " | " << turns << ": " << rendered.error().message;
        continue;
      }
      for (const json& message : conversation["messages"]) {
        if (turns == "s") continue;  // not every template shows one that stands alone
        EXPECT_NE(rendered->text.find(message["content"].get<std::string>()), std::string::npos) << source << turns;
      }
    }
  }
}

// An id between the name and the arguments, as Mistral writes it, is the call's; and the grammar that requires a call
// takes what the template shows.
TEST(ChatFormats, AnIdBetweenTheNameAndTheArguments) {
  const ChatTemplate* ours = chat_template("Mistral-Small-3.2-24B-Instruct-2506.jinja");
  ASSERT_NE(ours, nullptr);
  json conversation = {{"tools", true}, {"required", true}, {"messages", json::array()}};
  conversation["messages"].push_back({{"role", "user"}, {"content", "How is the weather in Rome?"}});
  const auto rendered = ours->render(chat_of(conversation), {});
  ASSERT_TRUE(rendered.ok()) << rendered.error().message;
  const std::string call = R"([TOOL_CALLS]get_weather[CALL_ID]a1b2c3d4e[ARGS]{"city": "Roma", "days": 35})";
  const OutputPiece out = take_apart_in_pieces(rendered->syntax, call, 3, false);
  ASSERT_EQ(out.tool_calls.size(), 1u);
  EXPECT_EQ(out.tool_calls[0].name, "get_weather");
  EXPECT_EQ(out.tool_calls[0].id, "a1b2c3d4e");
  EXPECT_EQ(json::parse(out.tool_calls[0].arguments_json), kArguments);
  GrammarCache grammars(cria());
  SamplerOptions options;
  options.grammar = rendered->grammar;
  for (const std::string& begun : {call, std::string("[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Roma\"")}) {
    options.grammar_start.text = begun;
    const auto sampler = Sampler::create(cria(), options, grammars);
    EXPECT_TRUE(sampler.ok()) << begun << ": " << sampler.error().message;
  }
}

}  // namespace
}  // namespace drover
