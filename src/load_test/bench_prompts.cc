#include "load_test/bench_prompts.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace drover::cli {
namespace {

constexpr std::array<std::string_view, 64> kWords = {
    "apple",  "river",  "stone",   "cloud",  "garden", "window", "mountain", "paper",  "silver", "music", "winter",
    "bridge", "candle", "forest",  "letter", "market", "ocean",  "pencil",   "queen",  "rabbit", "story", "table",
    "train",  "valley", "water",   "yellow", "bread",  "chair",  "door",     "earth",  "fire",   "glass", "house",
    "island", "jacket", "kitchen", "lamp",   "mirror", "night",  "orange",   "plate",  "road",   "snow",  "tower",
    "uncle",  "voice",  "wheel",   "year",   "bird",   "coat",   "dream",    "engine", "flower", "gold",  "hill",
    "ink",    "jungle", "key",     "leaf",   "moon",   "nest",   "oil",      "pearl",  "rope"};

// Where the numbers of "{n}" begin depends on the seed, below this.
constexpr std::uint64_t kNumbersFrom = 100;

std::string words_from(SplitMix& random, std::uint64_t count) {
  std::string text;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (i > 0) text += ' ';
    text += kWords[random.next() % kWords.size()];
  }
  return text;
}

std::string replace_all(std::string text, std::string_view from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace

std::uint64_t SplitMix::next() {
  state_ += 0x9e3779b97f4a7c15u;
  std::uint64_t value = state_;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

double SplitMix::fraction() {
  return static_cast<double>((next() >> 11) + 1) / 9007199254740992.0;
}

std::string make_prompt(const PromptOptions& options, std::uint64_t number) {
  if (options.variety == PromptVariety::kSame) number = 0;
  SplitMix shared(options.seed);
  SplitMix own(SplitMix(options.seed ^ 0x5ee0'0000u).next() + number * 0x2545f4914f6cdd1du);
  std::string prompt;
  if (options.shared_words > 0) prompt = words_from(shared, options.shared_words) + ". ";
  if (options.text.empty()) return prompt + words_from(own, options.words) + ". Write a story about this.";
  if (options.text.find("{n}") != std::string::npos) {
    return prompt + replace_all(options.text, "{n}", std::to_string(options.seed % kNumbersFrom + number + 1));
  }
  if (options.variety == PromptVariety::kSame) return prompt + options.text;
  return prompt + fmt::format("({:x}) ", own.next()) + options.text;
}

}  // namespace drover::cli
