// What a worker sends is data of strangers, once a template or a schema has taken the worker over.
#include "prepare/prompt_wire.h"

#include <gtest/gtest.h>

#include <functional>

namespace drover {
namespace {

constexpr int kVocabulary = 100;

pb::Prompt prompt() {
  pb::Prompt made;
  made.set_tokens(token_bytes(std::vector<Token>{1, 99}));
  made.mutable_grammar_start()->set_kind(static_cast<int>(GrammarStart::Kind::kOnTrigger));
  made.mutable_grammar_start()->add_trigger_tokens(99);
  made.mutable_syntax()->set_kind(static_cast<int>(OutputSyntax::Kind::kParser));
  made.mutable_syntax()->set_begun(static_cast<int>(OutputSyntax::Begun::kContent));
  return made;
}

TEST(PromptWire, WhatIsNoPromptIsRefused) {
  pb::Prompt good = prompt();
  ASSERT_TRUE(read_prompt(good, kVocabulary));
  const std::vector<std::pair<const char*, std::function<void(pb::Prompt&)>>> cases = {
      {"a token beyond the vocabulary", [](pb::Prompt& p) { p.set_tokens(token_bytes(std::vector<Token>{100})); }},
      {"a negative token", [](pb::Prompt& p) { p.set_tokens(token_bytes(std::vector<Token>{-1})); }},
      {"half a token", [](pb::Prompt& p) { p.mutable_tokens()->pop_back(); }},
      {"a trigger beyond the vocabulary", [](pb::Prompt& p) { p.mutable_grammar_start()->add_trigger_tokens(100); }},
      {"a negative trigger", [](pb::Prompt& p) { p.mutable_grammar_start()->add_trigger_tokens(-1); }},
      {"a start that is none", [](pb::Prompt& p) { p.mutable_grammar_start()->set_kind(3); }},
      {"a syntax that is none", [](pb::Prompt& p) { p.mutable_syntax()->set_kind(3); }},
      {"a negative syntax", [](pb::Prompt& p) { p.mutable_syntax()->set_kind(-1); }},
      {"a beginning that is none", [](pb::Prompt& p) { p.mutable_syntax()->set_begun(3); }},
  };
  for (const auto& [what, spoil] : cases) {
    pb::Prompt bad = prompt();
    spoil(bad);
    const auto read = read_prompt(bad, kVocabulary);
    ASSERT_FALSE(read) << what;
    EXPECT_EQ(read.error().code, ErrorCode::kInternal);
  }
}

}  // namespace
}  // namespace drover
