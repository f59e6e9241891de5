// Time as policy sees it: an argument, never read inside.
#pragma once

#include <chrono>

namespace drover {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = Clock::duration;

inline double to_seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

inline Duration from_seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

inline constexpr TimePoint kNever = TimePoint::max();

}  // namespace drover
