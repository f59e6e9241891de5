#include "prepare/prompt_wire.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace drover {
namespace {

Error not_a_prompt(std::string_view what) {
  return internal("what a request was prepared to has " + std::string(what));
}

bool is_token(std::int64_t token, int vocabulary_size) {
  return token >= 0 && token < vocabulary_size;
}

// A number that a worker sent for one of an enumeration's values, of which `last` is the last.
template <typename Enumeration>
bool read_enumerator(int number, Enumeration last, Enumeration& into) {
  into = static_cast<Enumeration>(number);
  return number >= 0 && number <= static_cast<int>(last);
}

void write_strings(std::vector<std::string>& from, google::protobuf::RepeatedPtrField<std::string>& to) {
  for (std::string& each : from) to.Add(std::move(each));
}

std::vector<std::string> read_strings(google::protobuf::RepeatedPtrField<std::string>& from) {
  return {std::move_iterator(from.begin()), std::move_iterator(from.end())};
}

void write_start(GrammarStart& from, pb::GrammarStart& to) {
  to.set_kind(static_cast<int>(from.kind));
  to.set_text(std::move(from.text));
  write_strings(from.trigger_patterns, *to.mutable_trigger_patterns());
  write_strings(from.trigger_words, *to.mutable_trigger_words());
  to.mutable_trigger_tokens()->Assign(from.trigger_tokens.begin(), from.trigger_tokens.end());
  to.set_opening(std::move(from.opening));
}

Result<GrammarStart> read_start(pb::GrammarStart& from, int vocabulary_size) {
  GrammarStart start;
  if (!read_enumerator(from.kind(), GrammarStart::Kind::kOnTrigger, start.kind)) return not_a_prompt("no such grammar");
  for (const std::int32_t token : from.trigger_tokens()) {
    if (!is_token(token, vocabulary_size)) return not_a_prompt("a trigger that is no token");
    start.trigger_tokens.push_back(token);
  }
  start.text = std::move(*from.mutable_text());
  start.trigger_patterns = read_strings(*from.mutable_trigger_patterns());
  start.trigger_words = read_strings(*from.mutable_trigger_words());
  start.opening = std::move(*from.mutable_opening());
  return start;
}

void write_syntax(OutputSyntax& from, pb::Syntax& to) {
  to.set_kind(static_cast<int>(from.kind));
  to.set_thinking_start(std::move(from.thinking_start));
  to.set_thinking_end(std::move(from.thinking_end));
  to.set_starts_in_thinking(from.starts_in_thinking);
  to.set_begun(static_cast<int>(from.begun));
  to.set_tools_json(std::move(from.tools_json));
  to.set_tool_tag(std::move(from.tool_tag));
  write_strings(from.tool_starts, *to.mutable_tool_starts());
  to.set_format(from.format);
  to.set_parser(std::move(from.parser));
  to.set_generation_prompt(std::move(from.generation_prompt));
}

Result<OutputSyntax> read_syntax(pb::Syntax& from) {
  OutputSyntax syntax;
  const bool known = read_enumerator(from.kind(), OutputSyntax::Kind::kParser, syntax.kind) &&
                     read_enumerator(from.begun(), OutputSyntax::Begun::kContent, syntax.begun);
  if (!known) return not_a_prompt("no such syntax");
  syntax.thinking_start = std::move(*from.mutable_thinking_start());
  syntax.thinking_end = std::move(*from.mutable_thinking_end());
  syntax.starts_in_thinking = from.starts_in_thinking();
  syntax.tools_json = std::move(*from.mutable_tools_json());
  syntax.tool_tag = std::move(*from.mutable_tool_tag());
  syntax.tool_starts = read_strings(*from.mutable_tool_starts());
  syntax.format = from.format();
  syntax.parser = std::move(*from.mutable_parser());
  syntax.generation_prompt = std::move(*from.mutable_generation_prompt());
  return syntax;
}

}  // namespace

std::string token_bytes(std::span<const Token> tokens) {
  return std::string(reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes());
}

Result<std::vector<Token>> read_tokens(std::string_view bytes, int vocabulary_size) {
  std::vector<Token> tokens(bytes.size() / sizeof(Token));
  if (!tokens.empty()) std::memcpy(tokens.data(), bytes.data(), tokens.size() * sizeof(Token));
  const auto is_known = [&](Token token) { return is_token(token, vocabulary_size); };
  if (bytes.size() % sizeof(Token) != 0 || !std::all_of(tokens.begin(), tokens.end(), is_known)) {
    return not_a_prompt("bytes that are no tokens");
  }
  return tokens;
}

void write_prompt(MadePrompt& from, bool with_text, pb::Prompt& to) {
  to.set_tokens(token_bytes(from.tokens));
  if (with_text) to.set_rendered(std::move(from.rendered.text));
  write_strings(from.rendered.stops, *to.mutable_stops());
  to.set_grammar(std::move(from.rendered.grammar));
  write_start(from.rendered.grammar_start, *to.mutable_grammar_start());
  write_syntax(from.rendered.syntax, *to.mutable_syntax());
  to.set_dropped_messages(static_cast<std::uint32_t>(from.dropped_messages));
  to.set_dropped_tokens(static_cast<std::uint32_t>(from.dropped_tokens));
}

Result<MadePrompt> read_prompt(pb::Prompt& from, int vocabulary_size) {
  MadePrompt prompt;
  auto tokens = read_tokens(from.tokens(), vocabulary_size);
  if (!tokens) return std::move(tokens).error();
  prompt.tokens = std::move(*tokens);
  prompt.rendered.text = std::move(*from.mutable_rendered());
  prompt.rendered.stops = read_strings(*from.mutable_stops());
  prompt.rendered.grammar = std::move(*from.mutable_grammar());
  auto start = read_start(*from.mutable_grammar_start(), vocabulary_size);
  if (!start) return std::move(start).error();
  prompt.rendered.grammar_start = std::move(*start);
  auto syntax = read_syntax(*from.mutable_syntax());
  if (!syntax) return std::move(syntax).error();
  prompt.rendered.syntax = std::move(*syntax);
  prompt.dropped_messages = from.dropped_messages();
  prompt.dropped_tokens = from.dropped_tokens();
  return prompt;
}

}  // namespace drover
