// Samples a step's sequences side by side where that pays: a grammar or a large vocabulary can make sampling cost as
// much as a step of a small model. Its threads sleep between steps. One thread, the one that computes, calls it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/ids.h"
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

  // Samples all tasks, on up to `threads` threads, the caller's among them. Threads are started when they are first
  // wanted.
  void sample(std::span<SampleTask> tasks, int threads);

 private:
  void help();
  void take_tasks();

  std::vector<std::thread> helpers_;
  std::span<SampleTask> tasks_;
  std::atomic<std::size_t> next_{0};  // the first task that nobody has taken

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::uint64_t round_ = 0;
  int wanted_ = 0;  // helpers that may still join this round
  int active_ = 0;  // helpers that have joined and not finished
  bool closed_ = false;
};

}  // namespace drover
