// What requests got, in a recorded day or in a replay of it: how long each waited for its slot, or why it had none.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "policy/events.h"

namespace drover {

// The waits of some requests, in seconds.
class Waits {
 public:
  void add(double seconds) { seconds_.push_back(seconds); }
  std::size_t count() const { return seconds_.size(); }
  double mean() const;
  // 0 <= share <= 1; 0 where there are none.
  double quantile(double share) const;

 private:
  std::vector<double> seconds_;
};

struct Outcome {
  Waits waits;  // of all that had a slot: until they had it for the first time
  std::map<std::string, Waits> clients;
  std::uint64_t arrived = 0;
  std::uint64_t refused = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t failed = 0;  // for other reasons
};

// Keeps the books of one run.
class Ledger {
 public:
  void arrived(const Arrival& arrival, TimePoint now);
  void decided(const Action& action, TimePoint now);
  const Outcome& outcome() const { return outcome_; }

 private:
  struct Waiting {
    std::string client;
    TimePoint since;
  };
  Outcome outcome_;
  std::unordered_map<RequestId, Waiting> waiting_;  // for a slot
};

}  // namespace drover
