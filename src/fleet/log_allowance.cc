#include "fleet/log_allowance.h"

#include <algorithm>

namespace drover {

bool LogAllowance::takes(std::size_t bytes, TimePoint now) {
  const double seconds = at_ == TimePoint{} ? 0 : to_seconds(std::max(now - at_, Duration::zero()));
  room_ = std::min<double>(room_ + seconds * kBytesPerSecond, kBurstBytes);
  at_ = now;
  const auto cost = static_cast<double>(bytes + kLineBytes);
  // Once lines are left out there is a gap, and one that is told of: not one between any two lines.
  const bool taken = left_out_ == 0 ? room_ >= cost : room_ >= std::max<double>(cost, kBurstBytes / 4.0);
  if (taken) {
    room_ -= cost;
  } else {
    ++left_out_;
  }
  return taken;
}

}  // namespace drover
