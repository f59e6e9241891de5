#include "engine/grammar_cache.h"

#include <llama.h>

#include <exception>
#include <utility>

#include "engine/llama_model.h"

namespace drover {
namespace {

constexpr std::size_t kGrammarsMax = 64;

// Everything that the compiled grammar depends on. Binding after a text is done by the sampler.
std::string key_of(const std::string& grammar, const GrammarStart& start) {
  std::string key = grammar;
  if (start.kind != GrammarStart::Kind::kOnTrigger) return key;
  key += '\0';
  for (const std::string& pattern : start.trigger_patterns) key += pattern + '\0';
  for (const Token token : start.trigger_tokens) key += '#' + std::to_string(token);
  return key;
}

}  // namespace

void FreeSampler::operator()(llama_sampler* sampler) const {
  llama_sampler_free(sampler);
}

GrammarCache::GrammarCache(const LlamaModel& model) : model_(model), originals_(kGrammarsMax) {}

Result<SamplerPointer> GrammarCache::sampler(const std::string& grammar, const GrammarStart& start) {
  const std::string key = key_of(grammar, start);
  if (const SamplerPointer* found = originals_.find(key)) return SamplerPointer(llama_sampler_clone(found->get()));
  auto compiled = compile(grammar, start);
  if (!compiled || key.size() > kCachedKeyBytesMax) return compiled;
  SamplerPointer copy(llama_sampler_clone(compiled->get()));
  originals_.add(key, std::move(*compiled));
  return copy;
}

Result<SamplerPointer> GrammarCache::compile(const std::string& grammar, const GrammarStart& start) {
  ++compiled_;
  SamplerPointer sampler;
  try {
    if (start.kind != GrammarStart::Kind::kOnTrigger) {
      sampler.reset(llama_sampler_init_grammar(model_.vocabulary(), grammar.c_str(), "root"));
    } else {
      std::vector<const char*> patterns;
      for (const std::string& pattern : start.trigger_patterns) patterns.push_back(pattern.c_str());
      sampler.reset(llama_sampler_init_grammar_lazy_patterns(model_.vocabulary(), grammar.c_str(), "root",
                                                             patterns.data(), patterns.size(),
                                                             start.trigger_tokens.data(), start.trigger_tokens.size()));
    }
  } catch (const std::exception& error) {
    return invalid(std::string("failed to parse grammar: ") + error.what());
  }
  if (sampler == nullptr) return invalid("failed to parse grammar");
  return sampler;
}

}  // namespace drover
