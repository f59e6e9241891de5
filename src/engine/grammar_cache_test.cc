#include "engine/grammar_cache.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/chat_template.h"
#include "engine/cria_fixture.h"
#include "engine/sampler.h"
#include "engine/trigger_watch.h"

namespace drover {
namespace {

constexpr const char* kDigits = "root ::= [0-9] [0-9] [0-9]";

// Writes `count` tokens with random logits; what it writes is what the grammar allows.
std::string write(Sampler& sampler, std::uint32_t seed, int count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::string text;
  std::vector<float> logits(static_cast<std::size_t>(cria().vocabulary_size()));
  for (int i = 0; i < count; ++i) {
    for (float& logit : logits) logit = normal(random);
    const Token token = sampler.sample(logits.data());
    if (cria().ends_generation(token)) break;
    cria().append_piece(token, false, text);
  }
  return text;
}

TEST(GrammarCache, CompilesAGrammarOnce) {
  GrammarCache grammars(cria());
  SamplerOptions options;
  options.grammar = kDigits;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(Sampler::create(cria(), options, grammars).ok());
  EXPECT_EQ(grammars.compiled(), 1);
  options.grammar = "root ::= \"x\"";
  ASSERT_TRUE(Sampler::create(cria(), options, grammars).ok());
  EXPECT_EQ(grammars.compiled(), 2);
}

TEST(GrammarCache, SamplersDoNotTouchEachOther) {
  GrammarCache grammars(cria());
  SamplerOptions options;
  options.seed = 5;
  options.grammar = kDigits;
  auto first = Sampler::create(cria(), options, grammars);
  const std::string text = write(**first, 7, 10);
  EXPECT_EQ(text.size(), 3u) << text;
  auto second = Sampler::create(cria(), options, grammars);
  EXPECT_EQ(write(**second, 7, 10), text) << "it begins anew";
  GrammarCache others(cria());
  auto alone = Sampler::create(cria(), options, others);
  EXPECT_EQ(write(**alone, 7, 10), text);
}

TEST(GrammarCache, BrokenOnesAreRefusedEachTime) {
  GrammarCache grammars(cria());
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(grammars.sampler("root ::= (", {}).ok());
  EXPECT_FALSE(grammars.sampler("start ::= \"x\"", {}).ok());
  EXPECT_TRUE(grammars.sampler(kDigits, {}).ok());
}

TEST(GrammarCache, ForgetsTheOldest) {
  GrammarCache grammars(cria());
  const auto numbered = [](int i) { return "root ::= \"" + std::to_string(i) + "\""; };
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(grammars.sampler(numbered(i), {}).ok());
  ASSERT_TRUE(grammars.sampler(numbered(99), {}).ok());
  EXPECT_EQ(grammars.compiled(), 100);
  ASSERT_TRUE(grammars.sampler(numbered(0), {}).ok());
  EXPECT_EQ(grammars.compiled(), 101);
}

TEST(TriggerWatch, FindsWordsHoweverTheyAreCut) {
  const std::string text = "nothing yet <tool <tool_call>{";
  for (std::size_t size = 1; size < 12; ++size) {
    TriggerWatch watch({"<tool_call>"}, {});
    std::string found;
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < text.size() && found.empty(); at += size) {
      pieces.push_back(text.substr(at, size));
      for (const Token token : watch.push(static_cast<Token>(pieces.size() - 1), pieces.back())) {
        found += pieces[static_cast<std::size_t>(token)];
      }
    }
    const auto word = found.find("<tool_call>");
    EXPECT_LT(word, size) << "it begins in the first of the tokens: " << found;
  }
}

TEST(TriggerWatch, TokensTriggerToo) {
  TriggerWatch watch({"abc"}, {42});
  EXPECT_TRUE(watch.push(1, "ab").empty());
  const auto found = watch.push(42, "");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0], 42);
}

// Random texts with many beginnings of words: found exactly where a search of the whole text would find one.
TEST(TriggerWatch, AgreesWithASearchOfTheWholeText) {
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    TriggerWatch watch({"aab", "bba"}, {});
    std::string text;
    bool found = false;
    for (int i = 0; i < 12 && !found; ++i) {
      std::string piece;
      for (std::size_t n = random() % 4; n > 0; --n) piece += static_cast<char>('a' + random() % 2);
      text += piece;
      found = !watch.push(i, piece).empty();
      const bool there = text.find("aab") != std::string::npos || text.find("bba") != std::string::npos;
      ASSERT_EQ(found, there) << text;
    }
  }
}

// A lazy grammar that is told only the tokens that hold its trigger binds as one that is told all of them.
TEST(Sampler, LazyGrammarBindsFromItsTriggerOn) {
  GrammarCache grammars(cria());
  SamplerOptions options;
  options.seed = 3;
  options.grammar = "root ::= \"go:\" [0-9] [0-9]";
  options.grammar_start.kind = GrammarStart::Kind::kOnTrigger;
  options.grammar_start.trigger_patterns = {"go:"};
  for (const bool words : {true, false}) {
    if (words) options.grammar_start.trigger_words = {"go:"};
    auto sampler = Sampler::create(cria(), options, grammars);
    ASSERT_TRUE(sampler.ok());
    std::string text;
    std::vector<float> logits(static_cast<std::size_t>(cria().vocabulary_size()), -20.0f);
    for (const Token token : cria().tokenize("we go:", false)) {
      std::vector<float> sure = logits;
      sure[static_cast<std::size_t>(token)] = 20.0f;
      ASSERT_EQ((*sampler)->sample(sure.data()), token);
    }
    const std::string digits = write(**sampler, 9, 10);
    EXPECT_EQ(digits.size(), 2u) << digits;
    EXPECT_EQ(digits.find_first_not_of("0123456789"), std::string::npos) << digits;
    options.grammar_start.trigger_words.clear();
  }
}

}  // namespace
}  // namespace drover
