// Grammars, compiled once: requests repeat their schema and their tools, and to parse a large grammar takes longer than
// to compute a token. Used by one thread; the samplers it gives out are independent of it and of each other.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
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
  // kAfterText: once the output contains it ("</think>"). kAtOnce: what stands before the output and is a part of what
  // the grammar holds for, an answer that the client has begun.
  std::string text = {};
  std::vector<std::string> trigger_patterns = {};  // kOnTrigger: llama.cpp's lazy grammar, regular expressions
  std::vector<std::string> trigger_words = {};     // the same as plain text, if all patterns are; otherwise empty
  std::vector<Token> trigger_tokens = {};
  // kAfterText: what the output begins with if that text is to come ("<think>"); an output that begins with something
  // else is bound from its start. Empty: the text comes in any case.
  std::string opening = {};
};

class GrammarCache {
 public:
  explicit GrammarCache(const LlamaModel& model) : model_(model) {}

  // A sampler of this grammar (GBNF, rule "root") in its first state. Error: kInvalidArgument if it cannot be compiled.
  Result<SamplerPointer> sampler(const std::string& grammar, const GrammarStart& start);

  int compiled() const { return compiled_; }  // grammars, so far

 private:
  Result<SamplerPointer> compile(const std::string& grammar, const GrammarStart& start);

  const LlamaModel& model_;
  std::unordered_map<std::string, SamplerPointer> originals_;  // never sampled with, only copied
  std::list<std::string> order_;                               // keys of originals_, oldest first
  int compiled_ = 0;
};

}  // namespace drover
