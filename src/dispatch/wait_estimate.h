// How long those that wait will have to, from how long services took lately. Pure; one thread.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"

namespace drover {

// How long one model's latest services took, from the place to its end.
class ServiceTimes {
 public:
  static constexpr std::size_t kRememberedMax = 64;

  void add(Duration service);
  bool empty() const { return size_ == 0; }
  // Undefined while empty.
  Duration mean() const;
  // What a service that has lasted for `elapsed` will still take: the mean rest of those that lasted longer.
  Duration remaining(Duration elapsed) const;

 private:
  std::array<Duration, kRememberedMax> latest_{};  // a ring
  std::size_t size_ = 0;
  std::size_t next_ = 0;
};

// For each of `waiting` requests, in the order in which they will be served, how long until it has a place: places come
// free as the running services end (`running`: for how long each has lasted), and each next request takes the first.
// `load_left`: until the model can serve at all. Nothing is known while no service has ended.
std::optional<std::vector<Duration>> estimate_waits(const ServiceTimes& services, int places,
                                                    std::span<const Duration> running, Duration load_left,
                                                    std::size_t waiting);

}  // namespace drover
