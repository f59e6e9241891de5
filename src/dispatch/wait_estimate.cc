#include "dispatch/wait_estimate.h"

#include <algorithm>
#include <functional>
#include <queue>

#include "base/check.h"

namespace drover {
namespace {

// One that outlasts all that is remembered may end at any time; the longer it has lasted, the longer it may go on.
constexpr int kOverdueShare = 10;

}  // namespace

void ServiceTimes::add(Duration service) {
  latest_[next_] = service;
  next_ = (next_ + 1) % kRememberedMax;
  size_ = std::min(size_ + 1, kRememberedMax);
}

Duration ServiceTimes::mean() const {
  DROVER_CHECK(size_ > 0);
  Duration sum{};
  for (std::size_t i = 0; i < size_; ++i) sum += latest_[i];
  return sum / static_cast<Duration::rep>(size_);
}

Duration ServiceTimes::remaining(Duration elapsed) const {
  Duration sum{};
  Duration::rep longer = 0;
  for (std::size_t i = 0; i < size_; ++i) {
    if (latest_[i] <= elapsed) continue;
    sum += latest_[i] - elapsed;
    ++longer;
  }
  return longer > 0 ? sum / longer : elapsed / kOverdueShare;
}

std::optional<std::vector<Duration>> estimate_waits(const ServiceTimes& services, int places,
                                                    std::span<const Duration> running, Duration load_left,
                                                    std::size_t waiting) {
  if (services.empty()) return std::nullopt;
  const Duration mean = services.mean();
  // When each place is free, the soonest on top.
  std::priority_queue<Duration, std::vector<Duration>, std::greater<>> free_at;
  for (const Duration elapsed : running) free_at.push(std::max(services.remaining(elapsed), load_left));
  while (static_cast<int>(free_at.size()) < std::max(places, 1)) free_at.push(load_left);
  std::vector<Duration> waits;
  waits.reserve(waiting);
  for (std::size_t i = 0; i < waiting; ++i) {
    const Duration wait = free_at.top();
    free_at.pop();
    free_at.push(wait + mean);
    waits.push_back(wait);
  }
  return waits;
}

}  // namespace drover
