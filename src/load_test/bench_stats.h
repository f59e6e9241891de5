// The figures of a load test, computed from what its requests did. Pure: times come in as arguments.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"

namespace drover::cli {

using Nanoseconds = std::chrono::nanoseconds;

// Counts durations in buckets whose width is below 1/128 of what they hold: a percentile is off by 0.4 % at most, in
// memory that does not grow with the number of durations. The largest one is exact.
class LatencyHistogram {
 public:
  // Negative durations count as 0.
  void add(Nanoseconds value);
  void merge(const LatencyHistogram& other);
  std::uint64_t count() const { return count_; }
  // The smallest duration that `percent` of all are not above (nearest rank); percent is 0 to 100. Zero if there are
  // none.
  Nanoseconds percentile(double percent) const;
  Nanoseconds largest() const { return Nanoseconds(static_cast<std::int64_t>(largest_)); }
  Nanoseconds mean() const;

 private:
  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  std::uint64_t largest_ = 0;
  double sum_ = 0;
};

// What became of one request. Times count from the start of its level.
struct RequestOutcome {
  Nanoseconds intended{};                  // when it was due; with a closed loop, when it was sent
  Nanoseconds end{};                       // its last byte, or its failure
  std::optional<Nanoseconds> first_piece;  // streaming only: the first piece of text
  std::uint64_t pieces = 0;                // of text that arrived
  std::uint64_t pieces_in_window = 0;      // of these, before the measured time ended
  std::optional<std::uint64_t> tokens;     // as the server counted them
  std::optional<std::uint64_t> prompt_tokens;
  std::optional<Nanoseconds> queue_wait;
  bool queue_wait_is_told = false;  // by the server; else it is what its durations leave
  std::string error;                // the kind, such as "HTTP 503"; empty: it succeeded
  std::string error_text;           // what the server said
};

struct ErrorCount {
  std::uint64_t count = 0;
  std::string example;  // what the first of them said
};

// All requests of one level: so many at once, or so many a second.
class LevelStats {
 public:
  // `window`: the time that is measured, after which no request begins; nullopt: until the last request has ended.
  // Requests that are still running at its end count for latencies, which would else favour the quick ones, but what
  // they did afterwards does not count for rates.
  explicit LevelStats(std::optional<Nanoseconds> window = std::nullopt) : window_(window) {}

  void add(const RequestOutcome& outcome);
  // The time between two pieces of one answer.
  void add_gap(Nanoseconds gap) { between_.add(gap); }
  // Says how long all of it took. Rates are known from here on.
  void finish(Nanoseconds elapsed);
  // Adds the figures of the same level on another occasion. Both must be finished.
  void merge(const LevelStats& other);

  std::uint64_t succeeded() const { return succeeded_; }
  std::uint64_t failed() const { return failed_; }
  std::uint64_t output_tokens() const { return output_tokens_; }
  std::uint64_t prompt_tokens() const { return prompt_tokens_; }
  double seconds() const { return measured_seconds_; }
  double requests_per_second() const;
  double tokens_per_second() const;
  // Whether the server said how many tokens it made; else the pieces of its streams were counted.
  bool tokens_are_exact() const { return tokens_are_exact_; }
  const std::map<std::string, ErrorCount>& errors() const { return errors_; }

  const LatencyHistogram& first_token() const { return first_token_; }  // from the intended start
  const LatencyHistogram& between() const { return between_; }
  const LatencyHistogram& total() const { return total_; }  // from the intended start
  const LatencyHistogram& queue_wait() const { return queue_wait_; }
  // Whether the server said how long each request waited; else it is what its durations leave.
  bool queue_wait_is_told() const { return queue_wait_is_told_; }

 private:
  std::optional<Nanoseconds> window_;
  std::uint64_t succeeded_ = 0;
  std::uint64_t failed_ = 0;
  std::uint64_t output_tokens_ = 0;
  std::uint64_t prompt_tokens_ = 0;
  std::uint64_t ended_in_window_ = 0;
  double requests_in_window_ = 0;
  double tokens_in_window_ = 0;
  double measured_requests_ = 0;
  double measured_tokens_ = 0;
  double measured_seconds_ = 0;
  bool tokens_are_exact_ = true;
  bool queue_wait_is_told_ = true;
  std::map<std::string, ErrorCount> errors_;
  LatencyHistogram first_token_;
  LatencyHistogram between_;
  LatencyHistogram total_;
  LatencyHistogram queue_wait_;
};

// The middle of several measurements, and how far they lie apart.
struct Spread {
  double median = 0;
  double lowest = 0;
  double highest = 0;
};
// Without values all are 0.
Spread spread_of(std::vector<double> values);

}  // namespace drover::cli
