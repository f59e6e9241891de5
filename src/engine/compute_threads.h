// The threads that one llama.cpp context computes on. llama.cpp makes and ends threads for each step where it is given
// none. One of its own pools is attached instead, whose threads sleep while nothing is computed.
#pragma once

#include <memory>

struct llama_context;

namespace drover {

class ComputeThreads {
 public:
  // Up to so many threads for the context, the caller's being one of them. The context must end first.
  ComputeThreads(llama_context* context, int threads_max);
  ~ComputeThreads();
  ComputeThreads(const ComputeThreads&) = delete;
  ComputeThreads& operator=(const ComputeThreads&) = delete;

  // From the next step on. 1 <= threads <= max(). The thread that computes.
  void use(int threads);
  int used() const { return used_; }
  int max() const { return max_; }

 private:
  struct Pools;
  llama_context* context_;
  std::unique_ptr<Pools> pools_;
  int max_;
  int used_ = 0;
};

// Threads for a context that was asked to have `wanted`; 0: one for each physical core.
int thread_count(int wanted);

}  // namespace drover
