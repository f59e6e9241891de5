// How many slots a model has with OLLAMA_NUM_PARALLEL=auto. More streams in a step give more tokens a second up to a
// point that depends on the machine and the model; beyond it each stream only gets slower. The number follows what is
// measured: from time to time another one is tried, and kept if the tokens per second justify it. Pure; the engine
// thread owns it.
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

  // A step gave a token to each of so many streams (1 or more), computed no prompt, and took so long.
  void observe(int streams, Duration took);
  // While so many sequences ran, one had to be preempted: memory does not hold more.
  void observe_preempted(int running);

 private:
  // Time of a step with so many streams. Unknown while samples == 0.
  struct Known {
    double seconds = 0;
    int samples = 0;  // since it was last begun anew
  };

  double rate(int streams) const;  // tokens per second; 0: not known
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
  int settled_ = 0;           // while a trial runs: the number before it; otherwise 0
  std::int64_t full_ = 0;     // steps with all slots in use since slots_ changed
  std::int64_t rest_ = 0;     // so many of them before the next trial
  std::int64_t rest_next_;    // and before the one after it, if that fails
  bool up_next_ = true;       // the next trial is with more slots
  int memory_max_;            // what memory held when it last ran out
};

}  // namespace drover
