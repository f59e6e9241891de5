// Decides which inputs are computed together, and by whom: those of all waiting requests share batches, and requests
// take turns input by input, so that one with a single input does not wait for one with a thousand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include "base/ids.h"

namespace drover {

// Who computes. The wide worker is a batch's threads working on it together, which is the quickest for a single one;
// each lane is one thread that computes a batch of its own, which is more in all where there are batches for every
// lane.
enum class EmbedWorker { kWide, kLane };

// Tokens and inputs that one batch holds at most.
struct EmbedLimits {
  int inputs = 0;
  int wide_tokens = 0;  // an input of more gets a batch of its own
  int lanes = 0;        // 0: there is the wide worker alone
  int lane_tokens = 0;
  int lane_input_tokens = 0;  // an input of more is for the wide worker
};

// Pure: no threads, no clock.
class EmbedPacker {
 public:
  explicit EmbedPacker(const EmbedLimits& limits) : limits_(limits) {}

  // A new request and the tokens of each of its inputs, of which there is at least one.
  void add(RequestId request, std::vector<int> input_tokens);
  // Forgets what of a request has not been handed out. Unknown requests are ignored.
  void remove(RequestId request);

  struct Picked {
    RequestId request;
    std::size_t input = 0;  // its index in the request
    friend bool operator==(const Picked&, const Picked&) = default;
  };
  // The next batch for a worker that is free, which computes it until finished(); empty if there is none for it now.
  // The inputs of each request are handed out in their order, every one once. The wide worker and a lane never compute
  // at the same time: they are the same processors.
  std::vector<Picked> next(EmbedWorker worker);
  // A worker has computed a batch of so many inputs.
  void finished(EmbedWorker worker, std::size_t inputs);

  bool empty() const { return waiting_.empty(); }

 private:
  struct Waiting {
    std::vector<int> input_tokens;
    std::size_t next = 0;
  };

  bool may_begin(EmbedWorker worker);
  int first_tokens();
  int tokens_max(EmbedWorker worker) const;
  std::vector<Picked> pick(int tokens_max);

  const EmbedLimits limits_;
  std::unordered_map<RequestId, Waiting> waiting_;
  std::deque<RequestId> turns_;      // all of waiting_, and perhaps some that are gone; who is next comes first
  std::int64_t waiting_inputs_ = 0;  // of all requests, not handed out
  std::int64_t waiting_tokens_ = 0;  // theirs
  bool wide_computes_ = false;
  int lanes_computing_ = 0;
  std::int64_t lane_inputs_ = 0;  // that lanes compute
  // Inputs of the wide worker's last batch, if others came while it was computed: their clients will send more.
  std::int64_t recent_inputs_ = 0;
};

}  // namespace drover
