#include "runner/step_budget.h"

#include <algorithm>

namespace drover {
namespace {

constexpr int kPromptTokensMin = 8;     // prompts go on however slow the steps are
constexpr int kPromptTokensFirst = 32;  // before anything is measured
constexpr int kAloneTokensMin = 16;     // the same while no stream has a pace
constexpr int kAloneTokensFirst = 64;
constexpr int kRowsMultiple = 4;       // the engine's matrix products work on so many rows at a time
constexpr int kTokensToLearnFrom = 8;  // a step with fewer prompt tokens says little about their cost
constexpr double kGapOverAlone = 4;
// Of a step while no stream has a pace. Where steps are so slow, more rows in each make none of them cheaper; and this
// is what a new request waits for, and what is lost of a prompt that is cancelled.
constexpr double kAloneStepSeconds = 1.5;
constexpr double kWeightOfNew = 0.25;  // of a new measurement, against all before
// Steps without prompt tokens, made only to measure, are at least so far apart ...
constexpr std::int64_t kMeasureEvery = 16;
// ... and made only if nothing was measured for so long.
constexpr std::int64_t kMeasurementKeeps = 512;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

StepBudget::StepBudget(Duration gap_target, bool adapts, int step_tokens_max)
    : gap_target_seconds_(seconds(gap_target)), adapts_(adapts), step_tokens_max_(step_tokens_max) {}

int StepBudget::prompt_tokens(int generating, int prompts) const {
  const int most = step_tokens_max_ - generating;
  double target = gap_target_seconds_;
  if (adapts_) target = std::max(target, kGapOverAlone * alone_seconds(generating + prompts));

  int budget = tokens_in(target - alone_seconds(generating), kPromptTokensFirst);
  const int rows = (generating + budget + kRowsMultiple / 2) / kRowsMultiple * kRowsMultiple;
  if (rows - generating >= kPromptTokensMin) budget = rows - generating;
  budget = std::min(std::max(budget, kPromptTokensMin), most);
  return budget < most && measure_now(generating) ? 0 : budget;
}

int StepBudget::prompt_tokens_alone() const {
  const int budget = tokens_in(kAloneStepSeconds, kAloneTokensFirst) / kRowsMultiple * kRowsMultiple;
  return std::min(std::max(budget, kAloneTokensMin), step_tokens_max_);
}

// Prompt tokens that take so long. Never more than twice what was tried, or `first`: few tokens say little about what
// many would take.
int StepBudget::tokens_in(double time, int first) const {
  if (samples_ == 0) return first;
  const int tried = *std::max_element(tokens_.begin(), tokens_.end());
  const double fits = std::max(0.0, time / token_seconds());
  const int most = std::max(first, 2 * tried);
  return fits < most ? static_cast<int>(fits) : most;
}

void StepBudget::observe(int generating, int prompt, Duration took) {
  ++step_;
  const double measured = seconds(took);
  if (prompt == 0) {
    if (generating == 0) return;
    measured_alone_ = step_;
    const auto [entry, added] = alone_.try_emplace(generating, Alone{measured, step_});
    if (added) return;
    // A single slow step must not count for much: it is taken for at most twice the usual.
    const double usual = entry->second.seconds;
    entry->second = {usual + kWeightOfNew * (std::min(measured, 2 * usual) - usual), step_};
    return;
  }
  if (prompt < kTokensToLearnFrom) return;
  const double streams = generating > 0 ? alone_seconds(generating) : 0;
  // A step that took less than its streams alone is noise; its tokens cannot have cost nothing.
  const double cost = std::max(measured - streams, 0.05 * measured) / prompt;
  token_seconds_[samples_ % kSamples] = cost;
  tokens_[samples_ % kSamples] = prompt;
  ++samples_;
}

// As measured for so many streams. Otherwise for the nearest number above, or, for the nearest below and for none, with
// what a prompt's token costs for each stream more.
double StepBudget::alone_seconds(int generating) const {
  const auto above = alone_.lower_bound(generating);
  if (above != alone_.end() && (above->first == generating || above == alone_.begin())) return above->second.seconds;
  const double each = samples_ > 0 ? token_seconds() : 0;
  if (above == alone_.begin()) return generating * each;
  const auto& [streams, known] = *std::prev(above);
  return known.seconds + (generating - streams) * each;
}

// The median of the latest: one step that the machine held up changes nothing.
double StepBudget::token_seconds() const {
  std::array<double, kSamples> sorted = token_seconds_;
  const auto end = sorted.begin() + std::min(samples_, kSamples);
  const auto middle = sorted.begin() + (end - sorted.begin()) / 2;
  std::nth_element(sorted.begin(), middle, end);
  return std::max(*middle, 1e-9);
}

bool StepBudget::measure_now(int generating) const {
  if (samples_ == 0 || step_ - measured_alone_ < kMeasureEvery) return false;
  const auto entry = alone_.find(generating);
  return entry == alone_.end() || step_ - entry->second.step > kMeasurementKeeps;
}

}  // namespace drover
