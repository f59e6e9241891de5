// How long a model takes, learned from a recorded day.
//
// A request's service is work that takes longer the more requests run beside it. A step of the engine computes a token
// for each of them, and takes as long as a fit of the record says:
//
//   step(n) = alone + beside * (n - 1)      for n that run; least squares over the answers' seconds per token
//   slowdown(n) = step(n) / step(1)
//
// A request's work is what it took, each stretch of it divided by the slowdown of those that ran during it: seconds as
// if it had been alone. So its tokens are not guessed at, and with the same neighbors it takes what it took. What comes
// before the first output (prefill, and the wait for a step) is taken to slow down in the same way.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "replay/day.h"

namespace drover {

struct ServiceModel {
  bool knows_steps = false;             // else the record says nothing of how many run at a time, and slowdown() is 1
  double alone = 0;                     // seconds of a step with one that runs
  double beside = 0;                    // and for each one more
  int running_max = 0;                  // that the record has seen
  double prompt_tokens_per_second = 0;  // prefill, as if alone; 0: unknown
  double work_mean = 0;                 // seconds, of requests that came to their end
  Duration load_mean{};
  Duration stop_mean{};
  Duration cancel_lag{};

  double slowdown(int running) const;
  // Seconds as if alone.
  double work(const Service& service) const;
};

std::map<ModelId, ServiceModel> learn(const Day& day);

}  // namespace drover
