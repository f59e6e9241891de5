// Estimates waiting times from the times that services took lately. Pure; one thread.
//
// A service is what a request has its slot for: a time until its first output, then its answer's tokens, each of which
// takes about as long as the next. How many there will be is unknown, but not beyond the request's own limits.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"

namespace drover {

// What ends a service at the latest.
struct ServiceLimits {
  std::optional<std::int64_t> tokens;  // of output
  std::optional<Duration> time;        // from the slot on
};

enum class ServiceEnd { kByItself, kTokenLimit, kTimeLimit };

struct EndedService {
  Duration until_output{};                 // from the slot to the first output; to the end, if there was none
  Duration output{};                       // from the first output to the end
  std::int64_t tokens = 0;                 // of output; 0 for embeddings
  ServiceEnd end = ServiceEnd::kByItself;  // at a limit: without that, it would have gone on
};

struct RunningService {
  ServiceLimits limits;
  Duration elapsed{};              // since it got its slot
  std::optional<Duration> output;  // since its first output; unset: there was none yet
  std::int64_t tokens = 0;         // of output so far
};

// One model's latest services.
class ServiceHistory {
 public:
  static constexpr std::size_t kRememberedMax = 64;

  void add(const EndedService& service);
  bool empty() const { return size_ == 0; }

 private:
  friend class ServiceForecast;
  std::array<EndedService, kRememberedMax> latest_{};  // a ring
  std::size_t size_ = 0;
  std::size_t next_ = 0;
};

// For each of the requests that wait, in the order in which they will be served (`waiting`: the limits of each), how
// long until it has a slot: slots come free as the running services end, and each next request takes the first.
// `load_left`: until the model can serve at all. Nothing is known while no service has ended.
std::optional<std::vector<Duration>> estimate_waits(const ServiceHistory& history, int slots,
                                                    std::span<const RunningService> running, Duration load_left,
                                                    std::span<const ServiceLimits> waiting);

}  // namespace drover
