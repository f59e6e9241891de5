#include "engine/sampler.h"

#include <gtest/gtest.h>
#include <llama.h>

#include <ctime>
#include <random>

#include "engine/chat_template.h"
#include "engine/cria_fixture.h"

namespace drover {
namespace {

Result<std::unique_ptr<Sampler>> make_sampler(const SamplerOptions& options) {
  GrammarCache grammars(cria());
  return Sampler::create(cria(), options, grammars);
}

std::vector<float> random_logits(std::mt19937& random) {
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> logits(static_cast<std::size_t>(cria().vocabulary_size()));
  for (float& logit : logits) logit = normal(random);
  return logits;
}

struct FreeGrammar {
  void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
};

// llama.cpp's own chain over the whole vocabulary, in the order of its common sampler, and a grammar as that sampler
// applies it: the choice is checked first, and made again among what fits if it does not.
class Reference {
 public:
  explicit Reference(const SamplerOptions& options)
      : chain_(llama_sampler_chain_init(llama_sampler_chain_default_params())) {
    const auto add = [&](llama_sampler* sampler) { llama_sampler_chain_add(chain_.get(), sampler); };
    add(llama_sampler_init_penalties(cria().vocabulary_size(), options.repeat_last_n, options.repeat_penalty,
                                     options.frequency_penalty, options.presence_penalty));
    add(llama_sampler_init_top_k(options.top_k));
    add(llama_sampler_init_typical(options.typical_p, 0));
    add(llama_sampler_init_top_p(options.top_p, 0));
    add(llama_sampler_init_min_p(options.min_p, 0));
    add(llama_sampler_init_temp_ext(options.temperature, 0.0f, 1.0f));
    add(llama_sampler_init_dist(options.seed));
    if (!options.grammar.empty()) {
      grammar_.reset(llama_sampler_init_grammar(cria().vocabulary(), options.grammar.c_str(), "root"));
    }
  }

  void accept_prompt(const std::vector<Token>& tokens) {
    for (const Token token : tokens) llama_sampler_accept(chain_.get(), token);
  }

  Token sample(const std::vector<float>& logits) {
    Token token = choose(logits, false);
    if (grammar_ && !allows(token)) token = choose(logits, true);
    llama_sampler_accept(chain_.get(), token);
    if (grammar_) llama_sampler_accept(grammar_.get(), token);
    return token;
  }

 private:
  bool allows(Token token) {
    llama_token_data single = {token, 1.0f, 0.0f};
    llama_token_data_array one = {&single, 1, -1, false};
    llama_sampler_apply(grammar_.get(), &one);
    return single.logit != -INFINITY;
  }

  Token choose(const std::vector<float>& logits, bool grammar_first) {
    std::vector<llama_token_data> candidates;
    for (std::size_t id = 0; id < logits.size(); ++id) candidates.push_back({static_cast<Token>(id), logits[id], 0.0f});
    llama_token_data_array array = {candidates.data(), candidates.size(), -1, false};
    if (grammar_first) llama_sampler_apply(grammar_.get(), &array);
    llama_sampler_apply(chain_.get(), &array);
    return array.data[array.selected].id;
  }

  std::unique_ptr<llama_sampler, FreeGrammar> chain_;
  std::unique_ptr<llama_sampler, FreeGrammar> grammar_;
};

SamplerOptions random_options(std::mt19937& random) {
  const auto pick = [&](std::initializer_list<float> values) { return values.begin()[random() % values.size()]; };
  SamplerOptions options;
  options.seed = random() % 1'000'000;
  options.temperature = pick({-1.0f, 0.0f, 0.1f, 0.8f, 1.0f, 2.0f});
  options.top_k = static_cast<int>(pick({-1.0f, 0.0f, 1.0f, 2.0f, 40.0f, 256.0f, 257.0f, 5000.0f}));
  options.top_p = pick({0.0f, 0.1f, 0.9f, 1.0f});
  options.min_p = pick({0.0f, 0.05f, 0.5f, 1.0f});
  options.typical_p = pick({0.3f, 1.0f, 1.0f});
  options.repeat_last_n = static_cast<int>(pick({0.0f, 1.0f, 8.0f, 64.0f}));
  options.repeat_penalty = pick({1.0f, 1.0f, 0.9f, 1.3f});
  options.presence_penalty = pick({0.0f, 0.0f, 0.5f, -0.5f});
  options.frequency_penalty = pick({0.0f, 0.0f, 0.5f});
  if (random() % 8 == 0) options.grammar = "root ::= [a-zA-Z ]* [0-9]";
  return options;
}

TEST(Sampler, ChoosesWhatLlamaCppChooses) {
  std::mt19937 random(20261122);
  for (int round = 0; round < 4000; ++round) {
    const SamplerOptions options = random_options(random);
    auto sampler = make_sampler(options);
    ASSERT_TRUE(sampler.ok());
    Reference reference(options);
    std::vector<Token> prompt(random() % 20);
    for (Token& token : prompt) token = static_cast<Token>(random() % static_cast<unsigned>(cria().vocabulary_size()));
    (*sampler)->accept_prompt(prompt);
    reference.accept_prompt(prompt);
    for (int step = 0; step < 6; ++step) {
      const std::vector<float> logits = random_logits(random);
      const Token token = (*sampler)->sample(logits.data());
      ASSERT_EQ(token, reference.sample(logits))
          << "round " << round << " step " << step << " temperature " << options.temperature << " top_k "
          << options.top_k << " top_p " << options.top_p << " min_p " << options.min_p << " typical_p "
          << options.typical_p << " grammar " << options.grammar;
      if (cria().ends_generation(token)) break;
    }
  }
}

TEST(Sampler, KeepsToItsGrammarWhateverTheLogits) {
  std::mt19937 random(3);
  for (const int top_k : {0, 1, 40}) {
    SamplerOptions options;
    options.seed = 11;
    options.top_k = top_k;
    options.grammar = "root ::= [0-9]+ \",\" [a-f]+";
    auto sampler = make_sampler(options);
    ASSERT_TRUE(sampler.ok());
    std::string text;
    for (int step = 0; step < 30; ++step) {
      const Token token = (*sampler)->sample(random_logits(random).data());
      if (cria().ends_generation(token)) break;
      cria().append_piece(token, false, text);
    }
    const auto comma = text.find(',');
    EXPECT_EQ(text.substr(0, comma).find_first_not_of("0123456789"), std::string::npos) << text;
    if (comma != std::string::npos) {
      EXPECT_EQ(text.find_first_not_of("abcdef", comma + 1), std::string::npos) << text;
    }
  }
}

TEST(Sampler, RefusesABrokenGrammar) {
  SamplerOptions options;
  options.grammar = "root ::= (";
  EXPECT_FALSE(make_sampler(options).ok());
}

TEST(Sampler, LogprobsAreThoseOfTheDistribution) {
  std::vector<float> logits(static_cast<std::size_t>(cria().vocabulary_size()), -100.0f);
  logits[3] = 1.0f;
  logits[5] = 1.0f;
  const auto likeliest = Sampler::likeliest(logits.data(), cria().vocabulary_size(), 5, 2);
  ASSERT_EQ(likeliest.size(), 3u);
  EXPECT_EQ(likeliest[0].token, 5);
  EXPECT_NEAR(likeliest[0].logprob, std::log(0.5), 1e-5);
  EXPECT_NEAR(likeliest[1].logprob + likeliest[2].logprob, 2 * std::log(0.5), 1e-5);
}

TEST(Format, ASchemaThatCannotBeUsedIsAnError) {
  pb::Format format;
  format.set_kind(pb::Format::JSON_SCHEMA);
  format.set_schema_json(R"({"type":"no such type"})");
  EXPECT_FALSE(grammar_for(format).ok());
  format.set_schema_json("{broken");
  EXPECT_FALSE(grammar_for(format).ok());
  format.set_schema_json(R"({"type":"object","properties":{"age":{"type":"integer"}}})");
  EXPECT_TRUE(grammar_for(format).ok());
}

// A grammar of one word that waits for the end of a thought.
SamplerOptions yes_after_thinking() {
  SamplerOptions options;
  options.temperature = 0;
  options.grammar = "root ::= \"yes\"";
  options.grammar_start.kind = GrammarStart::Kind::kAfterText;
  options.grammar_start.text = "</think>";
  return options;
}

// A model that would end its answer within its thought ends the thought, and then keeps to the grammar.
TEST(Sampler, AThoughtEndsBeforeTheAnswer) {
  const SamplerOptions options = yes_after_thinking();
  auto sampler = make_sampler(options);
  ASSERT_TRUE(sampler.ok());
  std::vector<float> logits(static_cast<std::size_t>(cria().vocabulary_size()), 0.0f);
  const Token end = llama_vocab_eos(cria().vocabulary());
  logits[static_cast<std::size_t>(end)] = 100;
  std::string text;
  for (int i = 0; i < 32; ++i) {
    const Token token = (*sampler)->sample(logits.data());
    if (token == end) break;
    cria().append_piece(token, true, text);
  }
  EXPECT_EQ(text, "</think>yes");
}

// How long a grammar lets a model go on that says `text` for ever; processor time of this thread.
struct Outcome {
  bool too_slow = false;
  double seconds = 0;
  int tokens = 0;
};

Outcome outcome_of(const std::string& grammar, const std::string& text, int tokens_max) {
  SamplerOptions options;
  options.temperature = 0;
  options.grammar = grammar;
  auto sampler = make_sampler(options);
  EXPECT_TRUE(sampler.ok()) << sampler.error().message;
  const std::vector<Token> tokens = cria().tokenize(text, false);
  std::vector<float> logits(static_cast<std::size_t>(cria().vocabulary_size()), 0.0f);
  Outcome outcome;
  const std::clock_t start = std::clock();
  try {
    for (; outcome.tokens < tokens_max; ++outcome.tokens) {
      float& wanted =
          logits[static_cast<std::size_t>(tokens[static_cast<std::size_t>(outcome.tokens) % tokens.size()])];
      wanted = 100;
      (*sampler)->sample(logits.data());
      wanted = 0;
    }
  } catch (const GrammarTooSlow&) {
    outcome.too_slow = true;
  }
  outcome.seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  return outcome;
}

// What the output so far can mean becomes twice as much with each word: a tree whose branches begin alike.
TEST(Sampler, AGrammarWhoseMeaningsDoubleEndsItsSequence) {
  const Outcome outcome = outcome_of("root ::= a\na ::= \"x\" a \"y\" | \"x\" a \"z\" | \"end\"", "x", 1000);
  EXPECT_TRUE(outcome.too_slow);
  EXPECT_GE(outcome.tokens, 8);
  EXPECT_LT(outcome.seconds, 2) << "all tokens together";
}

// And where a single letter can be one of a hundred thousand.
TEST(Sampler, ASingleTokenIsNotWaitedForEither) {
  const Outcome outcome =
      outcome_of("root ::= a{0,60} \"b\"\na ::= c{0,60} \"d\"?\nc ::= e{0,60} \"f\"?\ne ::= \"x\" \"g\"?", "x", 1000);
  EXPECT_TRUE(outcome.too_slow);
  EXPECT_LT(outcome.seconds, 2);
}

// Nor is an answer's beginning, which is read before there is a token to choose.
TEST(Sampler, ABeginningIsNotWaitedForEither) {
  SamplerOptions options;
  options.temperature = 0;
  options.grammar = "root ::= a\na ::= \"x\" a \"y\" | \"x\" a \"z\" | \"end\"";
  options.grammar_start.text = std::string(1000, 'x');
  const std::clock_t start = std::clock();
  const auto sampler = make_sampler(options);
  EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 2);
  ASSERT_FALSE(sampler.ok());
  EXPECT_EQ(sampler.error().message, "the grammar of this schema takes too long");
  EXPECT_EQ(sampler.error().code, ErrorCode::kInvalidArgument);
}

TEST(Sampler, AnHonestGrammarIsNotTooSlow) {
  pb::Format format;
  format.set_kind(pb::Format::JSON);
  const Outcome outcome = outcome_of(*grammar_for(format), "{\"a\": [1, 2, {\"b\": \"c\"}], \"d\": ", 2000);
  EXPECT_FALSE(outcome.too_slow);
}

// Its vocabulary has no way to say this.
TEST(Sampler, AGrammarThatNoTokenFitsEndsItsSequenceAndNotTheProcess) {
  SamplerOptions options;
  options.temperature = 0;
  options.grammar = "root ::= <[0]>";
  auto sampler = make_sampler(options);
  ASSERT_TRUE(sampler.ok());
  const std::vector<float> logits(static_cast<std::size_t>(cria().vocabulary_size()), 0.0f);
  EXPECT_THROW((*sampler)->sample(logits.data()), std::runtime_error);
}

// A model that begins with something else than a thought is bound at once.
TEST(Sampler, WithoutAThoughtTheGrammarBindsAtOnce) {
  SamplerOptions options = yes_after_thinking();
  options.grammar_start.opening = "<think>";
  auto sampler = make_sampler(options);
  ASSERT_TRUE(sampler.ok());
  std::vector<float> logits(static_cast<std::size_t>(cria().vocabulary_size()), 0.0f);
  logits[static_cast<std::size_t>(cria().tokenize("The", false).front())] = 100;
  std::string text;
  for (int i = 0; i < 3; ++i) {
    const Token token = (*sampler)->sample(logits.data());
    if (cria().ends_generation(token)) break;
    cria().append_piece(token, true, text);
  }
  EXPECT_EQ(text.substr(0, 3), std::string("yes").substr(0, std::min<std::size_t>(text.size(), 3)));
  EXPECT_FALSE(text.empty());
}

// What the client has begun is a part of what the grammar holds for.
TEST(Sampler, GoesOnInAnAnswerThatWasBegun) {
  SamplerOptions options;
  options.temperature = 0;
  options.grammar = R"(root ::= "{\"age\": " [0-9]+ ", \"name\": \"" ("New York" | "Rome") "\"}")";
  std::mt19937 random(5);
  for (const std::string begun : {"{", "{\"a", "{\"age\": 2", "{\"age\": 22, \"name\": \"New ",
                                  "{\"age\": 22, \"name\": \"Rome\"", "{\"age\": 22, \"name\": \"Rome\"}"}) {
    options.grammar_start.text = begun;
    auto sampler = make_sampler(options);
    ASSERT_TRUE(sampler.ok()) << begun << ": " << sampler.error().message;
    std::string text = begun;
    for (int i = 0; i < 200; ++i) {
      std::vector<float> logits = random_logits(random);
      const Token token = (*sampler)->sample(logits.data());
      if (cria().ends_generation(token)) break;
      cria().append_piece(token, true, text);
    }
    EXPECT_TRUE(text.starts_with("{\"age\": ")) << text;
    EXPECT_TRUE(text.ends_with(", \"name\": \"New York\"}") || text.ends_with(", \"name\": \"Rome\"}")) << text;
  }
  for (const std::string begun : {"The answer", "{\"name", "{\"age\": 22, \"name\": \"Paris", "{\"age\": x"}) {
    options.grammar_start.text = begun;
    auto sampler = make_sampler(options);
    ASSERT_FALSE(sampler.ok()) << begun;
    EXPECT_EQ(sampler.error().message, "the answer that the last message begins does not match `format`");
  }
  options.grammar_start.text = "{\"age\": " + std::string(70'000, '2');
  EXPECT_FALSE(make_sampler(options).ok());
}

}  // namespace
}  // namespace drover
