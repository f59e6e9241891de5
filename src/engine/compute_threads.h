// The threads that one llama.cpp context computes on. llama.cpp makes and ends threads for each step where it is given
// none. One of its own pools is attached instead, whose threads sleep while nothing is computed.
#pragma once

#include <atomic>
#include <memory>

#include "base/clock.h"
#include "engine/thread_choice.h"

struct llama_context;

namespace drover {

class ComputeThreads {
 public:
  // Up to so many threads for the context, the caller's being one of them. The context must end first.
  ComputeThreads(llama_context* context, int threads_max);
  ~ComputeThreads();
  ComputeThreads(const ComputeThreads&) = delete;
  ComputeThreads& operator=(const ComputeThreads&) = delete;

  // So many runners compute at this moment, this one included: from the next step on it takes its part of the threads.
  // Any thread.
  void share_processors(int runners) { sharers_.store(runners, std::memory_order_relaxed); }

  // Before and after a step, by the thread that computes. The step takes as many threads as are worth it, up to `most`:
  // fewer while other runners compute, and while other programs want the same processors.
  void begin(int most);
  void end();

  int used() const { return used_; }  // in the latest step
  int max() const { return max_; }

 private:
  struct Pools;
  void use(int threads);
  void look_for_idle_processors();

  llama_context* context_;
  std::unique_ptr<Pools> pools_;
  int max_;
  int used_ = 0;
  std::atomic<int> sharers_{1};
  ThreadChoice choice_;
  TimePoint began_{};
  double processor_began_ = 0;  // seconds
  TimePoint looked_{};
  double idle_at_look_ = 0;  // seconds that all processors had been idle by then
};

// Threads of a context that was asked to have `wanted`; 0: one for each physical core.
int thread_count(int wanted);

}  // namespace drover
