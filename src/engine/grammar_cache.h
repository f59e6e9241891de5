// Caches compiled grammars: requests repeat their schema and their tools, and parsing a large grammar takes longer than
// computing a token. Used by one thread. The samplers it returns are independent of it and of each other.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/bounded_cache.h"
#include "engine/engine.h"

struct llama_sampler;

namespace drover {

class LlamaModel;

struct FreeSampler {
  void operator()(llama_sampler* sampler) const;
};
using SamplerPointer = std::unique_ptr<llama_sampler, FreeSampler>;

// When a grammar starts to bind.
struct GrammarStart {
  enum class Kind { kAtOnce, kAfterText, kOnTrigger } kind = Kind::kAtOnce;
  // kAfterText: the grammar binds once the output contains this ("</think>"). kAtOnce: the beginning of the answer,
  // written by the client, which the grammar covers too.
  std::string text = {};
  std::vector<std::string> trigger_patterns = {};  // kOnTrigger: llama.cpp's lazy grammar, regular expressions
  std::vector<std::string> trigger_words = {};     // the same as plain text, if all patterns are plain; otherwise empty
  std::vector<Token> trigger_tokens = {};
  // kAfterText: the beginning of an output that will contain the text ("<think>"); any other output is bound from its
  // start. Empty: the text always comes.
  std::string opening = {};
};

class GrammarCache {
 public:
  explicit GrammarCache(const LlamaModel& model);

  // A sampler of this grammar (GBNF, rule "root") in its first state. Error: kInvalidArgument if it cannot be compiled.
  Result<SamplerPointer> sampler(const std::string& grammar, const GrammarStart& start);

  int compiled() const { return compiled_; }  // grammars compiled so far

 private:
  Result<SamplerPointer> compile(const std::string& grammar, const GrammarStart& start);

  const LlamaModel& model_;
  BoundedCache<SamplerPointer> originals_;  // never sampled with, only copied
  int compiled_ = 0;
};

}  // namespace drover
