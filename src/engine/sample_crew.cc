#include "engine/sample_crew.h"

#include <algorithm>
#include <exception>
#include <string>

#include "base/work_page.h"

namespace drover {
namespace {

void run(SampleTask& task) {
  const AtWork at_work(task.request);
  try {
    task.token = task.sampler->sample(task.logits);
  } catch (const GrammarTooSlow& error) {
    task.error = invalid(error.what());
  } catch (const std::exception& error) {
    task.error = internal(std::string("sampling failed: ") + error.what());
  }
}

}  // namespace

SampleCrew::~SampleCrew() {
  {
    const MutexLock lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void SampleCrew::sample(std::span<SampleTask> tasks, int threads) {
  const auto costly =
      std::count_if(tasks.begin(), tasks.end(), [](const auto& task) { return task.sampler->is_costly(); });
  if (threads < 2 || costly < 2) {
    for (SampleTask& task : tasks) run(task);
    return;
  }
  const int helpers = std::min(threads, static_cast<int>(costly)) - 1;
  while (static_cast<int>(helpers_.size()) < helpers) helpers_.emplace_back([this] { help(); });
  {
    const MutexLock lock(mutex_);
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    wanted_ = helpers;
    ++round_;
  }
  changed_.notify_all();
  take_tasks();
  MutexLock lock(mutex_);
  wanted_ = 0;  // a helper that wakes up now is too late
  while (active_ > 0) lock.wait(changed_);
}

void SampleCrew::help() {
  std::uint64_t seen = 0;
  MutexLock lock(mutex_);
  while (true) {
    while (!closed_ && round_ == seen) lock.wait(changed_);
    if (closed_) return;
    seen = round_;
    if (wanted_ == 0) continue;
    --wanted_;
    ++active_;
    lock.unlock();
    take_tasks();
    lock.lock();
    if (--active_ == 0) changed_.notify_all();
  }
}

void SampleCrew::take_tasks() {
  while (true) {
    const std::size_t index = next_.fetch_add(1, std::memory_order_relaxed);
    if (index >= tasks_.size()) return;
    run(tasks_[index]);
  }
}

}  // namespace drover
