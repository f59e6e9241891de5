// Turns logits into a token: llama.cpp's samplers in llama.cpp's order, with shortcuts that give the same token.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/grammar_cache.h"

namespace drover {

class LlamaModel;

struct SamplerOptions {
  std::uint32_t seed = 0xffffffff;  // 0xffffffff: random
  float temperature = 0.8f;         // 0 or less: greedy
  int top_k = 40;                   // 0 or less: off
  float top_p = 0.9f;
  float min_p = 0.0f;
  float typical_p = 1.0f;
  int repeat_last_n = 64;  // 0: off
  float repeat_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::string grammar;  // GBNF; empty: none
  GrammarStart grammar_start;
};

struct TokenProbability {
  Token token = 0;
  float logprob = 0;
};

// The request's grammar is so ambiguous or so large that it would delay every step.
class GrammarTooSlow : public std::runtime_error {
 public:
  GrammarTooSlow();
};

// One per sequence; used by one thread at a time.
class Sampler {
 public:
  // Error: kInvalidArgument if the grammar cannot be compiled, or does not accept the beginning of the answer.
  static Result<std::unique_ptr<Sampler>> create(const LlamaModel& model, const SamplerOptions& options,
                                                 GrammarCache& grammars);
  ~Sampler();

  // Gives the penalties the tokens before the output.
  void accept_prompt(std::span<const Token> tokens);
  // Whether choosing a token takes long enough that another thread pays.
  bool is_costly() const;
  // Chooses the next token from `logits` (vocabulary size) and remembers it. Throws GrammarTooSlow, or llama.cpp's
  // exception at a dead end of the grammar; the sequence is over then.
  Token sample(const float* logits);
  // The log-probabilities of `token` and of the `count` likeliest tokens, under the model's own distribution.
  static std::vector<TokenProbability> likeliest(const float* logits, int vocabulary_size, Token token, int count);

 private:
  struct Parts;
  explicit Sampler(std::unique_ptr<Parts> parts);
  Token choose(const float* logits);
  void accept(Token token);
  void watch_for_trigger(Token token);
  void check_grammar_time();

  std::unique_ptr<Parts> parts_;
};

}  // namespace drover
