#include "runner/slot_count.h"

#include <algorithm>

#include "base/check.h"

namespace drover {
namespace {

// Steps with all slots in use that a number of slots is judged by.
constexpr int kTrialSteps = 48;
// Between two trials; doubled by each that fails, so that a load that has found its number is left alone.
constexpr std::int64_t kRestSteps = 64;
constexpr std::int64_t kRestStepsMax = 2048;
// More slots must give so much more in all. Otherwise fewer are better: each stream is faster.
constexpr double kGainMin = 1.04;
// A single slow step is taken for at most so many times the usual.
constexpr double kOutlier = 1.5;

}  // namespace

SlotCount::SlotCount(Mode mode, int first, int most)
    : mode_(mode), most_(most), slots_(first), known_(most + 1), rest_next_(kRestSteps), memory_max_(most) {
  DROVER_CHECK(first >= 1 && first <= most);
}

double SlotCount::rate(int streams) const {
  const Known& known = known_[streams];
  return known.samples == 0 ? 0 : streams / known.seconds;
}

void SlotCount::observe(int streams, Duration took) {
  // More than all slots are in use for a while after their number has gone down.
  if (mode_ == Mode::kFixed || streams < 1 || streams > most_) return;
  Known& known = known_[streams];
  const double measured = std::max(to_seconds(took), 1e-9);
  ++known.samples;
  if (known.samples == 1) {
    known.seconds = measured;
  } else {
    const double weight = 1.0 / std::min(known.samples, kTrialSteps);
    known.seconds += weight * (std::min(measured, kOutlier * known.seconds) - known.seconds);
  }
  if (streams != slots_) return;
  ++full_;
  decide();
}

void SlotCount::observe_preempted(int running) {
  if (mode_ == Mode::kFixed) return;
  memory_max_ = std::clamp(running - 1, 1, most_);
  if (slots_ > memory_max_) settle(memory_max_, false);
}

void SlotCount::decide() {
  if (settled_ != 0) {
    if (known_[slots_].samples >= kTrialSteps) judge_trial();
    return;
  }
  if (full_ < rest_ + kTrialSteps) return;
  // Memory may have come since it ran out.
  if (memory_max_ < most_) ++memory_max_;
  const int next = up_next_ ? larger() : smaller();
  up_next_ = !up_next_;
  if (next != slots_) start_trial(next);
}

// Both numbers were measured one after the other, so what else the machine does weighs on both.
void SlotCount::judge_trial() {
  const int fewer = std::min(settled_, slots_);
  const int more = std::max(settled_, slots_);
  const int better = rate(more) >= kGainMin * rate(fewer) ? more : fewer;
  settle(better, better != settled_);
}

void SlotCount::start_trial(int slots) {
  settled_ = slots_;
  slots_ = slots;
  full_ = 0;
  known_[slots_] = {};
}

// `success`: there is reason to go on in the same direction at once.
void SlotCount::settle(int slots, bool success) {
  const bool up = slots > settled_;
  slots_ = slots;
  settled_ = 0;
  full_ = 0;
  known_[slots_] = {};  // what is measured from now on is what the next trial is compared with
  if (success) {
    up_next_ = up;
    rest_ = 0;
    rest_next_ = kRestSteps;
  } else {
    rest_ = rest_next_;
    rest_next_ = std::min(2 * rest_next_, kRestStepsMax);
  }
}

// Steps of a half: a curve shows in them, where it would be lost in the noise between neighbours.
int SlotCount::larger() const {
  return std::max(slots_, std::min(slots_ + std::max(slots_ / 2, 1), memory_max_));
}

int SlotCount::smaller() const {
  return slots_ - (slots_ + 2) / 3 >= 1 ? slots_ - (slots_ + 2) / 3 : 1;
}

}  // namespace drover
