// Samples a step's sequences in parallel where that pays: with a grammar or a large vocabulary, sampling can cost as
// much as a step of a small model. Its threads sleep between steps. Only the thread that computes calls it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "base/result.h"
#include "engine/sampler.h"

namespace drover {

// One sequence's part of a step.
struct SampleTask {
  RequestId request;
  Sampler* sampler = nullptr;
  const float* logits = nullptr;
  Token token = 0;
  std::optional<Error> error;  // sampling failed. kInvalidArgument: it is the request's own fault
};

class SampleCrew {
 public:
  SampleCrew() = default;
  ~SampleCrew();
  SampleCrew(const SampleCrew&) = delete;
  SampleCrew& operator=(const SampleCrew&) = delete;

  // Samples all tasks on up to `threads` threads, including the caller's. Threads are started when they are first
  // needed.
  void sample(std::span<SampleTask> tasks, int threads);

 private:
  void help();
  void take_tasks();

  std::vector<std::thread> helpers_;
  std::span<SampleTask> tasks_;
  std::atomic<std::size_t> next_{0};  // the first task that no thread has taken

  Mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t round_ GUARDED_BY(mutex_) = 0;
  int wanted_ GUARDED_BY(mutex_) = 0;  // helpers that may still join this round
  int active_ GUARDED_BY(mutex_) = 0;  // helpers that have joined and not finished
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace drover
