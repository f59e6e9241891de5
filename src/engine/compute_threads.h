// The threads that one llama.cpp context computes on. Without a pool, llama.cpp starts and ends threads in each step.
// This attaches a pool, whose threads sleep while nothing is computed.
#pragma once

#include <atomic>
#include <memory>

#include "base/clock.h"
#include "engine/thread_choice.h"

struct llama_context;

namespace drover {

class ComputeThreads {
 public:
  // Up to `threads_max` threads for the context, including the caller's. The context must be destroyed first.
  ComputeThreads(llama_context* context, int threads_max);
  ~ComputeThreads();
  ComputeThreads(const ComputeThreads&) = delete;
  ComputeThreads& operator=(const ComputeThreads&) = delete;

  // `runners` runners compute now, including this one. From the next step on it uses its share of the threads. Any
  // thread.
  void share_processors(int runners) { sharers_.store(runners, std::memory_order_relaxed); }

  // Called before and after a step by the thread that computes. The step uses as many threads as pay, up to `most`:
  // fewer while other runners compute, and while other programs use the same processors.
  void begin(int most);
  void end();

  int used() const { return used_; }  // in the last step
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
  double idle_at_look_ = 0;  // seconds that all processors had been idle at that time
};

// The number of threads for a context with the setting `wanted`; 0: one per physical core.
int thread_count(int wanted);

}  // namespace drover
