#include "runner/step_budget.h"

#include <algorithm>
#include <cmath>

namespace drover {
namespace {

constexpr int kPromptTokensMin = 8;  // prompts advance even if steps are very slow
constexpr int kRowsFirst = 32;       // before anything is measured
constexpr int kAloneTokensMin = 16;  // the same while no stream has a pace
constexpr int kAloneRowsFirst = 64;
constexpr int kRowsMultiple = 4;       // rows that the engine's matrix products compute at a time
constexpr int kTokensToLearnFrom = 8;  // with streams, fewer prompt tokens say little about their cost

// The target that adapts. If costs grow linearly and a step takes 8 times as long as its streams alone, a prompt takes
// 8/7 of its time without streams; with 4 times, it takes 4/3. The former is worth gaps that users hardly notice.
constexpr double kGapOverAloneMin = 4;
constexpr double kGapOverAloneMax = 8;
constexpr double kGapSeconds = 0.5;
constexpr double kGapOverTargetMax = 2.5;
// Beyond the target, one percent more gap must save half a percent of the prompt's time. Only the flat part of a stair
// does.
constexpr double kPriceBeyond = 0.5;

// Longest step while no stream has a pace. A new request waits that long, and a canceled prompt wastes that much.
constexpr double kAloneStepSeconds = 1.5;

// A size larger than all measured ones may take this many times the limit of a step, even if a stair begins there, ...
constexpr double kGrowthOverTargetMax = 1.5;
// ... and is at most this many times the largest measured one.
constexpr int kGrowth = 2;
// Rows of the engine's largest tiles. Sizes up to this are tried soon, larger ones only if costs suggest it.
constexpr int kTileMax = 64;
// A trial must make a row cheaper by this factor. Otherwise the wait before the next one doubles.
constexpr double kGrowthPays = 0.9;
constexpr std::int64_t kExploreEvery = 4;
constexpr std::int64_t kExploreEveryMax = 256;
constexpr std::int64_t kExploreKeeps = 64;  // a size last measured this many steps ago counts as not tried

constexpr double kAsGood = 1.01;  // of two sizes whose costs are this close, the larger one is taken

constexpr double kCalibrationSeconds = 0.5;
constexpr int kCalibrationGrowth = 4;

constexpr double kWeightOfNew = 0.25;      // weight of a new measurement of the streams alone
constexpr double kAloneChangeMax = 2;      // limit on the change of an older measurement when the machine has changed
constexpr int kAloneSamples = 3;           // the fastest of the first measurements counts
constexpr double kSlowestMeasured = 1.25;  // a slow step counts as at most this many times the usual time
// Steps without prompt tokens, made only to measure, are at least this many steps apart, ...
constexpr std::int64_t kMeasureEvery = 16;
// ... and made only if there was no measurement for this many steps.
constexpr std::int64_t kMeasurementKeeps = 512;

// The prompt tokens that fill the rows up to a multiple.
int filled_up(int generating, int prompt) {
  return (generating + prompt + kRowsMultiple - 1) / kRowsMultiple * kRowsMultiple - generating;
}

// The most rows that may be tried if `known` rows were measured.
int reach(int known, bool tiles_known) {
  return tiles_known ? kGrowth * known : std::min(kGrowth * known, kTileMax);
}

}  // namespace

StepBudget::StepBudget(Duration gap_target, bool adapts, int step_tokens_max)
    : gap_target_seconds_(to_seconds(gap_target)),
      adapts_(adapts),
      step_tokens_max_(step_tokens_max),
      curve_(step_tokens_max),
      explore_wait_(kExploreEvery) {}

int StepBudget::calibration_rows() const {
  if (curve_.empty()) return 1;
  const int largest = curve_.largest();
  for (int rows = kCalibrationGrowth * largest; rows > largest; rows /= 2) {
    if (rows <= step_tokens_max_ && spent_seconds_ + curve_.at_most(rows) <= kCalibrationSeconds) return rows;
  }
  return 0;
}

int StepBudget::prompt_tokens(int generating, int prompts) const {
  const int most = step_tokens_max_ - generating;
  if (most <= 0) return 0;
  const int least = std::min(filled_up(generating, kPromptTokensMin), most);
  int budget = std::min(std::max(kRowsFirst - generating, least), most);
  if (!curve_.empty()) {
    const Aim aim = aim_of(generating, prompts);
    budget = best(generating, least, aim);
    budget = std::max(budget, explore(generating, budget, aim));
  }
  return budget < most && measure_now(generating) ? 0 : budget;
}

int StepBudget::prompt_tokens_alone(int generating) const {
  const int most = step_tokens_max_ - generating;
  if (most <= 0) return 0;
  const int first = curve_.empty() ? kAloneRowsFirst : kAloneTokensMin;
  const int least = std::min(filled_up(generating, first), most);
  if (curve_.empty()) return least;
  return best(generating, least, {.target = kAloneStepSeconds, .longest = kAloneStepSeconds, .nobody_waits = true});
}

StepBudget::Aim StepBudget::aim_of(int generating, int prompts) const {
  if (!adapts_) return {.target = gap_target_seconds_, .longest = gap_target_seconds_};
  const double idle = alone_seconds(generating + prompts);
  const double target =
      std::max(gap_target_seconds_, std::clamp(kGapSeconds, kGapOverAloneMin * idle, kGapOverAloneMax * idle));
  // With this price the target is the optimum for a machine with linear costs.
  const double alone = alone_seconds(generating);
  const double price = alone < target ? alone / (target - alone) : 1;
  return {.target = target,
          .longest = kGapOverTargetMax * target,
          .unnoticed = gap_target_seconds_,
          .price_before = price,
          .price_beyond = std::max(price, kPriceBeyond)};
}

double StepBudget::price_of(double time, const Aim& aim) {
  const double price = time < aim.target ? aim.price_before : aim.price_beyond;
  return price == 0 ? 1 : std::pow(time / aim.target, price);
}

// The number of prompt tokens, at least `least`, with the lowest time per prompt token, including the price of the
// step's length.
int StepBudget::best(int generating, int least, const Aim& aim) const {
  const double extra = extra_seconds(generating);
  const double unnoticed = price_of(aim.unnoticed, aim);
  const int largest = curve_.largest();
  int prompt = least;
  double lowest = 0;
  for (const int rows : curve_.sizes()) {
    if (rows < generating + least) continue;
    double time = extra + curve_.at(rows);
    if (rows > largest) {
      const bool tiles_known = aim.nobody_waits || largest >= kTileMax;
      // Holds even if a stair begins right after the largest size, and if the streams' extra time grows with the rows.
      const double time_most = 2 * extra + curve_.at_most(rows);
      const double limit =
          tiles_known || !adapts_ ? kGrowthOverTargetMax * aim.target : std::max(aim.longest, kAloneStepSeconds);
      if (rows > reach(largest, tiles_known) || time_most > limit) break;
      if (tiles_known && !aim.nobody_waits && largest < 2 * kTileMax) time = time_most;
    }
    if (time > aim.longest) break;
    const double cost = time / (rows - generating) * (time <= aim.unnoticed ? unnoticed : price_of(time, aim));
    const double enough = time < aim.target ? kAsGood * lowest : lowest;
    if (lowest == 0 || cost < enough) prompt = rows - generating;
    lowest = lowest == 0 ? cost : std::min(lowest, cost);
  }
  return prompt;
}

// Prompt tokens for a step that is larger than all recent ones; 0 if it is not time for one. Without such trials, steps
// that are too small for the machine's tiles would never grow: they do not show how much cheaper more rows are.
int StepBudget::explore(int generating, int planned, const Aim& aim) const {
  if (!adapts_ || step_ < explore_at_) return 0;
  const int known = largest_of_late();
  if (known == 0 || generating + planned > known) return 0;
  const bool tiles_known = known >= kTileMax;
  // Beyond the tiles a trial is unlikely to pay, so its gap must be harmless.
  const double limit = tiles_known ? std::min(aim.target, kGapOverTargetMax * gap_target_seconds_) : aim.longest;
  const double extra = extra_seconds(generating);
  int prompt = 0;
  for (const int rows : curve_.sizes()) {
    if (rows <= known) continue;
    if (rows > reach(known, tiles_known)) break;
    if (extra + curve_.at(known) + curve_.at(rows - known) > limit) break;
    prompt = rows - generating;
  }
  return prompt;
}

int StepBudget::largest_of_late() const {
  return curve_.largest_since(std::max(step_ - kExploreKeeps, changed_));
}

void StepBudget::observe(int generating, int prompt, Duration took) {
  ++step_;
  const double measured = to_seconds(took);
  spent_seconds_ += measured;
  if (prompt == 0) {
    if (generating > 0) learn_alone(generating, measured);
    return;
  }
  if (generating > 0 && prompt < kTokensToLearnFrom) return;
  const int rows = generating + prompt;
  double of_rows = measured;
  if (generating > 0 && !curve_.empty()) {
    const double expected = curve_.at(rows);
    of_rows *= expected / (expected + extra_seconds(generating));
  } else if (generating > 0 && !alone_.empty()) {
    // A step that took less than its streams alone is noise: its tokens cannot have been free.
    of_rows = std::max(measured - alone_seconds(generating), 0.05 * measured) / prompt * rows;
  }
  const int before = largest_of_late();
  const double each_before = before > 0 ? curve_.at(before) / before : 0;
  if (curve_.observe(rows, of_rows, step_) != 1) {
    changed_ = step_;
    explore_wait_ = kExploreEvery;
    explore_at_ = std::min(explore_at_, step_ + explore_wait_);
  }
  if (generating > 0 && before > 0 && rows > before) learn_growth(each_before, curve_.at(rows) / rows);
}

void StepBudget::learn_alone(int generating, double measured) {
  measured_alone_ = step_;
  Alone& alone = alone_[generating];
  // A single slow step must not count much.
  if (alone.samples > 0 && alone.step < changed_) {
    alone.seconds = std::min(measured, kAloneChangeMax * alone.seconds);
    alone.samples = 1;
  } else if (++alone.samples <= kAloneSamples) {
    alone.seconds = alone.samples == 1 ? measured : std::min(alone.seconds, measured);
  } else {
    alone.seconds += kWeightOfNew * (std::min(measured, kSlowestMeasured * alone.seconds) - alone.seconds);
  }
  alone.step = step_;
}

// Decides whether another trial may follow at once after a trial: compares the time per row before it and in it.
void StepBudget::learn_growth(double each_before, double each) {
  const bool pays = each < kGrowthPays * each_before;
  if (pays) explore_wait_ = kExploreEvery;
  explore_at_ = step_ + (pays ? 0 : explore_wait_);
  if (!pays) explore_wait_ = std::min(2 * explore_wait_, kExploreEveryMax);
}

// The measured time for this number of streams. If there is none: the time of as many rows, plus the extra time that
// was measured for the nearest smaller number of streams, or else for the nearest larger one.
double StepBudget::alone_seconds(int generating) const {
  const auto above = alone_.lower_bound(generating);
  if (above != alone_.end() && above->first == generating) return above->second.seconds;
  double seconds = curve_.at(generating);
  if (above != alone_.begin()) {
    const auto& [streams, known] = *std::prev(above);
    seconds += std::max(known.seconds - curve_.at(streams), 0.0);
    seconds = std::clamp(seconds, known.seconds, known.seconds * generating / streams);
  }
  if (above == alone_.end()) return seconds;
  return above == alone_.begin() ? above->second.seconds : std::min(seconds, above->second.seconds);
}

double StepBudget::extra_seconds(int generating) const {
  return generating > 0 ? std::max(alone_seconds(generating) - curve_.at(generating), 0.0) : 0;
}

bool StepBudget::measure_now(int generating) const {
  if (curve_.empty() || step_ - measured_alone_ < kMeasureEvery) return false;
  const auto entry = alone_.find(generating);
  return entry == alone_.end() || entry->second.step < changed_ || step_ - entry->second.step > kMeasurementKeeps;
}

}  // namespace drover
