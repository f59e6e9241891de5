// The number of slots of a model with OLLAMA_NUM_PARALLEL=auto. More streams in a step give more tokens per second up
// to a point that depends on the machine and the model; beyond it each stream only gets slower. From time to time
// another number is tried, and kept if the measured tokens per second justify it. Pure; the scheduler owns it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"

namespace drover {

class SlotCount {
 public:
  // 1 <= first <= most. With kFixed the number stays `first`.
  enum class Mode { kFixed, kMeasured };
  SlotCount(Mode mode, int first, int most);

  int slots() const { return slots_; }

  // A step generated a token for each of `streams` (1 or more) streams, computed no prompt, and took `took`.
  void observe(int streams, Duration took);
  // One of `running` sequences was preempted: memory does not hold that many.
  void observe_preempted(int running);

 private:
  // Time of a step with a number of streams. Unknown while samples == 0.
  struct Known {
    double seconds = 0;
    int samples = 0;  // since the last reset
  };

  double rate(int streams) const;  // tokens per second; 0: unknown
  void decide();
  void judge_trial();
  void start_trial(int slots);
  void settle(int slots, bool success);
  int larger() const;
  int smaller() const;

  const Mode mode_;
  const int most_;
  int slots_;
  std::vector<Known> known_;  // by number of streams
  int settled_ = 0;           // during a trial: the number before it; otherwise 0
  std::int64_t full_ = 0;     // steps with all slots in use since slots_ changed
  std::int64_t rest_ = 0;     // full steps before the next trial
  std::int64_t rest_next_;    // full steps before the trial after it, if the next one fails
  bool up_next_ = true;       // the next trial is with more slots
  int memory_max_;            // sequences that memory held when it last ran out
};

}  // namespace drover
