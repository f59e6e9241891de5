// The server's last ten minutes in figures, so that whoever looks after a bad minute sees it. Pure; takes the same
// memory however long it goes on.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "base/histogram.h"
#include "fleet/metrics.h"

namespace drover {

inline constexpr std::chrono::seconds kHistoryInterval{5};
inline constexpr std::size_t kHistorySamplesMax = 120;

// How things are at one moment, all models together. What is counted has been since the server began.
struct HistoryReading {
  std::chrono::milliseconds at{};  // boot_time()
  std::uint64_t waiting = 0;       // requests
  std::uint64_t running = 0;       // generations
  std::uint64_t slots = 0;         // for generations
  std::uint64_t tokens = 0;
  Histogram first_token{kWaitBounds};
  Histogram inter_token{kGapBounds};
  std::uint64_t kv_cells = 0;
  std::uint64_t kv_used = 0;
  std::uint64_t kv_kept = 0;
};

struct HistorySample {
  struct Latency {
    double median = 0;  // seconds
    double p95 = 0;     // seconds
  };
  struct Kv {
    double used = 0;  // shares of the cells there are
    double kept = 0;
  };
  std::chrono::milliseconds at{};
  std::uint64_t waiting = 0;
  std::uint64_t running = 0;
  std::uint64_t slots = 0;
  std::optional<double> tokens_per_second;  // since the sample before
  std::optional<Latency> first_token;       // of the last two intervals; unset: there was none
  std::optional<Latency> inter_token;
  std::optional<Kv> kv;  // unset: there is no cache
};

class History {
 public:
  // Readings are given about once in kHistoryInterval, in the order of time.
  void add(const HistoryReading& reading);
  // The oldest first, kHistorySamplesMax at most.
  const std::deque<HistorySample>& samples() const { return samples_; }

 private:
  std::deque<HistoryReading> readings_;  // the last ones, of which differences are taken
  std::deque<HistorySample> samples_;
};

}  // namespace drover
