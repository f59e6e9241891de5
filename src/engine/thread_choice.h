// Chooses the number of threads of a step while other programs use the same processors. The threads of a step meet at
// hundreds of barriers, where all of them wait for a thread that has no processor: two threads on two processors that
// two other programs keep busy are a tenth as fast as one thread. Pure; ComputeThreads measures.
#pragma once

namespace drover {

class ThreadChoice {
 public:
  // Up to `most` threads; all of them at first.
  explicit ThreadChoice(int most) : most_(most), threads_(most) {}

  int threads() const { return threads_; }
  bool reduced() const { return threads_ < most_; }

  // A step on `threads` threads took `wall` seconds, in which the threads had `processor` seconds of processor time
  // together.
  void observe_step(int threads, double wall, double processor);
  // `processors` processors were idle recently, apart from those that this model used.
  void observe_idle(double processors);

 private:
  int most_;
  int threads_;
  double wall_ = 0;       // time of steps on threads_ threads since the last decision, times threads_
  double processor_ = 0;  // processor time of the same steps
};

}  // namespace drover
