// The prompts of a load test: repeatable from a seed, and all different unless asked for otherwise.
#pragma once

#include <cstdint>
#include <string>

namespace drover::cli {

enum class PromptVariety { kDifferent, kSame };

struct PromptOptions {
  std::string text;                // what the user gave; empty: words are made up. "{n}" becomes a number per request
  std::uint64_t words = 32;        // of a prompt that is made up
  std::uint64_t shared_words = 0;  // that all prompts begin with, before what differs
  PromptVariety variety = PromptVariety::kDifferent;
  std::uint64_t seed = 0;
};

// Pure: the same options and number give the same prompt. Two prompts differ from their first words on (or, with shared
// words, from the first words behind these), so that no cache of prefixes answers for the model.
std::string make_prompt(const PromptOptions& options, std::uint64_t number);

// A small generator whose numbers depend on nothing but its start.
class SplitMix {
 public:
  explicit SplitMix(std::uint64_t state) : state_(state) {}
  std::uint64_t next();
  double fraction();  // above 0, up to 1

 private:
  std::uint64_t state_;
};

}  // namespace drover::cli
