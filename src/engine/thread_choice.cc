#include "engine/thread_choice.h"

#include <algorithm>
#include <cmath>

namespace drover {
namespace {

// A decision needs at least this much computing: a single delayed step means nothing.
constexpr double kSecondsToLearnFrom = 0.05;
// If each thread gets less than this part of a processor, the threads lose more by waiting than they gain.
constexpr double kMissingMax = 0.5;

}  // namespace

void ThreadChoice::observe_step(int threads, double wall, double processor) {
  if (threads != threads_ || threads < 2) return;
  wall_ += threads * wall;
  processor_ += processor;
  if (wall_ < threads * kSecondsToLearnFrom) return;
  const double missing = threads * (1 - processor_ / wall_);
  wall_ = processor_ = 0;
  if (missing >= kMissingMax) threads_ = std::max(threads - static_cast<int>(std::lround(missing)), 1);
}

void ThreadChoice::observe_idle(double processors) {
  const int more = static_cast<int>(processors + 0.5);
  if (more <= 0) return;
  threads_ = std::min(threads_ + more, most_);
  wall_ = processor_ = 0;
}

}  // namespace drover
