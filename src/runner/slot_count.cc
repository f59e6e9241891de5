#include "runner/slot_count.h"

#include <algorithm>

#include "base/check.h"

namespace drover {
namespace {

// A number of slots is judged by this many steps with all slots in use.
constexpr int kTrialSteps = 48;
// Steps between trials; doubles after a failed one, so a settled workload is not disturbed.
constexpr std::int64_t kRestSteps = 64;
constexpr std::int64_t kRestStepsMax = 2048;
// More slots must increase the total rate by this factor. Otherwise fewer are better: each stream is faster.
constexpr double kGainMin = 1.04;
// A single slow step counts as at most this many times the usual time.
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
  // After the number of slots has gone down, more than that are in use for a while.
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
  // Memory may have become free since it ran out.
  if (memory_max_ < most_) ++memory_max_;
  const int next = up_next_ ? larger() : smaller();
  up_next_ = !up_next_;
  if (next != slots_) start_trial(next);
}

// Both numbers were measured one after the other, so other load on the machine affects both.
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

// `success`: the next trial goes on in the same direction at once.
void SlotCount::settle(int slots, bool success) {
  const bool up = slots > settled_;
  slots_ = slots;
  settled_ = 0;
  full_ = 0;
  known_[slots_] = {};  // the next trial is compared with measurements from now on
  if (success) {
    up_next_ = up;
    rest_ = 0;
    rest_next_ = kRestSteps;
  } else {
    rest_ = rest_next_;
    rest_next_ = std::min(2 * rest_next_, kRestStepsMax);
  }
}

// Trials change the number by half: the difference between neighboring numbers would be lost in noise.
int SlotCount::larger() const {
  return std::max(slots_, std::min(slots_ + std::max(slots_ / 2, 1), memory_max_));
}

int SlotCount::smaller() const {
  return slots_ - (slots_ + 2) / 3 >= 1 ? slots_ - (slots_ + 2) / 3 : 1;
}

}  // namespace drover
