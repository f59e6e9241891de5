// How many threads a step is computed on while other programs want the same processors. The threads of a step meet at
// hundreds of barriers, where all wait for the one that has no processor: two threads on two processors that two other
// programs keep busy are a tenth as fast as one thread. Pure; ComputeThreads measures.
#pragma once

namespace drover {

class ThreadChoice {
 public:
  // Up to so many threads, to begin with all of them.
  explicit ThreadChoice(int most) : most_(most), threads_(most) {}

  int threads() const { return threads_; }
  bool reduced() const { return threads_ < most_; }

  // A step on so many threads took so long, in which they had this much processor time together. Seconds.
  void observe_step(int threads, double wall, double processor);
  // So many processors had nothing to do lately, beside what this model computed.
  void observe_idle(double processors);

 private:
  int most_;
  int threads_;
  double wall_ = 0;       // since the last decision, of steps on threads_ threads, times their number
  double processor_ = 0;  // of the same
};

}  // namespace drover
