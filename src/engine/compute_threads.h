// The threads that one llama.cpp context computes on. llama.cpp makes and ends threads for each step where it is given
// none. One of its own pools is attached instead, whose threads sleep while nothing is computed.
#pragma once

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

  // Before and after a step, by the thread that computes. The step takes up to `granted` threads, and fewer while
  // other programs want the same processors.
  void begin(int granted);
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
  ThreadChoice choice_;
  TimePoint began_{};
  double processor_began_ = 0;  // seconds
  TimePoint looked_{};
  double idle_at_look_ = 0;  // seconds that all processors had been idle by then
};

// Threads for a context that was asked to have `wanted`; 0: one for each physical core.
int thread_count(int wanted);

}  // namespace drover
