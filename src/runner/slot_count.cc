#include "runner/place_count.h"

#include <algorithm>

#include "base/check.h"

namespace drover {
namespace {

// Steps with all places in use that a number of places is judged by.
constexpr int kTrialSteps = 48;
// Between two trials; doubled by each that fails, so that a load that has found its number is left alone.
constexpr std::int64_t kRestSteps = 64;
constexpr std::int64_t kRestStepsMax = 2048;
// More places must give so much more in all. Otherwise fewer are better: each stream is faster.
constexpr double kGainMin = 1.04;
// A single slow step is taken for at most so many times the usual.
constexpr double kOutlier = 1.5;

}  // namespace

PlaceCount::PlaceCount(Mode mode, int first, int most)
    : mode_(mode), most_(most), places_(first), known_(most + 1), rest_next_(kRestSteps), memory_max_(most) {
  DROVER_CHECK(first >= 1 && first <= most);
}

double PlaceCount::rate(int streams) const {
  const Known& known = known_[streams];
  return known.samples == 0 ? 0 : streams / known.seconds;
}

void PlaceCount::observe(int streams, Duration took) {
  // More than all places are in use for a while after their number has gone down.
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
  if (streams != places_) return;
  ++full_;
  decide();
}

void PlaceCount::observe_parked(int running) {
  if (mode_ == Mode::kFixed) return;
  memory_max_ = std::clamp(running - 1, 1, most_);
  if (places_ > memory_max_) settle(memory_max_, false);
}

void PlaceCount::decide() {
  if (settled_ != 0) {
    if (known_[places_].samples >= kTrialSteps) judge_trial();
    return;
  }
  if (full_ < rest_ + kTrialSteps) return;
  // Memory may have come since it ran out.
  if (memory_max_ < most_) ++memory_max_;
  const int next = up_next_ ? larger() : smaller();
  up_next_ = !up_next_;
  if (next != places_) start_trial(next);
}

// Both numbers were measured one after the other, so what else the machine does weighs on both.
void PlaceCount::judge_trial() {
  const int fewer = std::min(settled_, places_);
  const int more = std::max(settled_, places_);
  const int better = rate(more) >= kGainMin * rate(fewer) ? more : fewer;
  settle(better, better != settled_);
}

void PlaceCount::start_trial(int places) {
  settled_ = places_;
  places_ = places;
  full_ = 0;
  known_[places_] = {};
}

// `success`: there is reason to go on in the same direction at once.
void PlaceCount::settle(int places, bool success) {
  const bool up = places > settled_;
  places_ = places;
  settled_ = 0;
  full_ = 0;
  known_[places_] = {};  // what is measured from now on is what the next trial is compared with
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
int PlaceCount::larger() const {
  return std::max(places_, std::min(places_ + std::max(places_ / 2, 1), memory_max_));
}

int PlaceCount::smaller() const {
  return places_ - (places_ + 2) / 3 >= 1 ? places_ - (places_ + 2) / 3 : 1;
}

}  // namespace drover
