// A std::mutex that clang's thread safety analysis knows, and the lock that holds it. Use them instead of std::mutex.
#pragma once

#include <condition_variable>
#include <mutex>

#include "base/clock.h"
#include "base/thread_annotations.h"

namespace drover {

class CAPABILITY("mutex") Mutex {
 private:
  friend class MutexLock;
  std::mutex mutex_;
};

// Holds the mutex for as long as it lives, except between unlock() and lock().
class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : lock_(mutex.mutex_) {}
  ~MutexLock() RELEASE() {}
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void unlock() RELEASE() { lock_.unlock(); }
  void lock() ACQUIRE() { lock_.lock(); }

  // Waits for the condition variable, without the mutex; holds it again afterwards. It may wake up without a reason, so
  // call it in a loop: `while (!ready_) lock.wait(changed_);`.
  void wait(std::condition_variable& condition) { condition.wait(lock_); }
  // The same, but not beyond that time.
  void wait_until(std::condition_variable& condition, TimePoint time) { condition.wait_until(lock_, time); }

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace drover
