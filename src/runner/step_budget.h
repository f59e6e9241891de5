// How many prompt tokens a step may hold: while streams have a pace, so that the time between two tokens of a stream
// stays near its target; while none has, so that a step ends soon enough for those who come or leave meanwhile. Learned
// from measured steps: a step takes what the streams take alone, and a part for each prompt token. Pure; the
// scheduler's thread owns it.
#pragma once

#include <array>
#include <cstdint>
#include <map>

#include "base/clock.h"

namespace drover {

class StepBudget {
 public:
  // The target is `gap_target`, or if `adapts` 4 times the idle inter-token time where that is more: of the streams,
  // and of those that will be streams once their prompts are computed.
  StepBudget(Duration gap_target, bool adapts, int step_tokens_max);

  // Prompt tokens for a step with `generating` > 0 tokens of streams, and parts of so many prompts. 0 now and then, for
  // one step: to measure what the streams take alone, where that is not known.
  int prompt_tokens(int generating, int prompts) const;
  // Prompt tokens for a step while no stream has a pace: as many as take 1.5 seconds.
  int prompt_tokens_alone() const;
  // A step with so many tokens of streams and of prompts took so long.
  void observe(int generating, int prompt, Duration took);

 private:
  struct Alone {
    double seconds = 0;
    std::int64_t step = 0;  // when it was measured
  };

  double alone_seconds(int generating) const;
  double token_seconds() const;
  int tokens_in(double time, int first) const;
  bool measure_now(int generating) const;

  double gap_target_seconds_;
  bool adapts_;
  int step_tokens_max_;
  std::map<int, Alone> alone_;  // by number of streams: a step without prompt tokens
  static constexpr int kSamples = 3;
  std::array<double, kSamples> token_seconds_{};  // the latest steps with prompt tokens: seconds per prompt token
  std::array<int, kSamples> tokens_{};            // and their prompt tokens
  int samples_ = 0;                               // measured so far
  std::int64_t step_ = 0;
  std::int64_t measured_alone_ = 0;  // the latest step without prompt tokens
};

}  // namespace drover
