// What a runner and the processes that prepare its requests say to each other. A worker compiles what strangers wrote,
// so its answer may be anything: what the runner takes of it is within the bounds that the engine relies on.
#include <algorithm>

#include "fuzz.h"
#include "prepare.pb.h"
#include "prepare/prompt_wire.h"

namespace {

constexpr int kVocabulary = 1000;

bool are_tokens(const std::vector<drover::Token>& tokens) {
  return std::all_of(tokens.begin(), tokens.end(), [](auto token) { return token >= 0 && token < kVocabulary; });
}

void read_answer(drover::pb::PrepareAnswer& answer) {
  using drover::GrammarStart;
  using drover::OutputSyntax;
  for (const std::string& bytes : answer.inputs().tokens()) {
    const auto tokens = drover::read_tokens(bytes, kVocabulary);
    expect(!tokens || are_tokens(*tokens), "an input is made of tokens");
  }
  auto prompt = drover::read_prompt(*answer.mutable_prompt(), kVocabulary);
  if (!prompt) return;
  const GrammarStart& start = prompt->rendered.grammar_start;
  const OutputSyntax& syntax = prompt->rendered.syntax;
  expect(are_tokens(prompt->tokens) && are_tokens(start.trigger_tokens), "a prompt is made of tokens");
  expect(start.kind >= GrammarStart::Kind::kAtOnce && start.kind <= GrammarStart::Kind::kOnTrigger, "a grammar's kind");
  expect(syntax.kind >= OutputSyntax::Kind::kPlain && syntax.kind <= OutputSyntax::Kind::kParser, "a syntax' kind");
  expect(syntax.begun >= OutputSyntax::Begun::kNothing && syntax.begun <= OutputSyntax::Begun::kContent,
         "what is begun");

  const std::vector<drover::Token> tokens = prompt->tokens;
  const std::vector<std::string> starts = syntax.tool_starts;
  drover::pb::Prompt again;
  drover::write_prompt(*prompt, true, again);
  const auto same = drover::read_prompt(again, kVocabulary);
  expect(same && same->tokens == tokens && same->rendered.syntax.tool_starts == starts,
         "what is written is read again");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  drover::pb::PrepareWork work;
  (void)work.ParseFromArray(data, static_cast<int>(size));
  drover::pb::PrepareAnswer answer;
  if (answer.ParseFromArray(data, static_cast<int>(size))) read_answer(answer);
  return 0;
}
