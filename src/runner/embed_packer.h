// Decides which inputs are computed together: those of all waiting requests share batches, and requests take turns
// input by input, so that one with a single input does not wait for one with a thousand.
#pragma once

#include <cstddef>
#include <deque>
#include <unordered_map>
#include <vector>

#include "base/ids.h"

namespace drover {

// Pure: no threads, no clock.
class EmbedPacker {
 public:
  // A batch holds at most so many tokens and inputs; an input of more tokens than that gets a batch of its own.
  EmbedPacker(int tokens_max, int inputs_max) : tokens_max_(tokens_max), inputs_max_(inputs_max) {}

  // A new request and the tokens of each of its inputs, of which there is at least one.
  void add(RequestId request, std::vector<int> input_tokens);
  // Forgets what of a request has not been handed out. Unknown requests are ignored.
  void remove(RequestId request);

  struct Picked {
    RequestId request;
    std::size_t input = 0;  // its index in the request
    friend bool operator==(const Picked&, const Picked&) = default;
  };
  // The next batch; empty if nothing is left. The inputs of each request come in their order, every one once.
  std::vector<Picked> next();

  bool empty() const { return waiting_.empty(); }

 private:
  struct Waiting {
    std::vector<int> input_tokens;
    std::size_t next = 0;
  };

  const int tokens_max_;
  const int inputs_max_;
  std::unordered_map<RequestId, Waiting> waiting_;
  std::deque<RequestId> turns_;  // all of waiting_, and perhaps some that are gone; who is next comes first
};

}  // namespace drover
