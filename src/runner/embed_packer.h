// Decides which inputs are computed together, and by which worker. Inputs of all waiting requests share batches.
// Requests take turns input by input, so a request with one input does not wait for a request with a thousand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include "base/ids.h"

namespace drover {

// The wide worker computes one batch with all threads, which is fastest for a single batch. A lane is one thread that
// computes a batch of its own; lanes have a higher total rate if there is a batch for each of them.
enum class EmbedWorker { kWide, kLane };

// The most tokens and inputs in one batch.
struct EmbedLimits {
  int inputs = 0;
  int wide_tokens = 0;  // a longer input gets a batch of its own
  int lanes = 0;        // 0: only the wide worker
  int lane_tokens = 0;
  int lane_input_tokens = 0;  // a longer input is computed by the wide worker
};

// Pure: no threads, no clock.
class EmbedPacker {
 public:
  explicit EmbedPacker(const EmbedLimits& limits) : limits_(limits) {}

  // A new request and the tokens of each of its inputs, of which there is at least one.
  void add(RequestId request, std::vector<int> input_tokens);
  // Drops the inputs of a request that were not handed out yet. Unknown requests are ignored.
  void remove(RequestId request);

  struct Picked {
    RequestId request;
    std::size_t input = 0;  // its index in the request
    friend bool operator==(const Picked&, const Picked&) = default;
  };
  // The next batch for an idle worker, which computes it until finished(); empty if there is none for it now. The
  // inputs of a request are handed out in order, each once. The wide worker and a lane never compute at the same time,
  // because they use the same processors.
  std::vector<Picked> next(EmbedWorker worker);
  // A worker has computed a batch of `inputs` inputs.
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
  std::deque<RequestId> turns_;      // all of waiting_, and perhaps removed requests; the next one first
  std::int64_t waiting_inputs_ = 0;  // not handed out, of all requests
  std::int64_t waiting_tokens_ = 0;  // tokens of waiting_inputs_
  bool wide_computes_ = false;
  int lanes_computing_ = 0;
  std::int64_t lane_inputs_ = 0;  // being computed in lanes
  // Inputs of the wide worker's last batch, if new ones arrived while it was computed: their clients will send more.
  std::int64_t recent_inputs_ = 0;
};

}  // namespace drover
