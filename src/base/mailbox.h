// A queue that many threads post to and one thread drains as a whole. It has no bound of its own: the front's queue and
// the number of slots bound what a runner's threads post.
#pragma once

#include <condition_variable>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace drover {

template <typename T>
class Mailbox {
 public:
  void post(T item) {
    {
      const MutexLock lock(mutex_);
      items_.push_back(std::move(item));
    }
    ready_.notify_one();
  }

  // After this, drain() does not wait any more.
  void close() {
    {
      const MutexLock lock(mutex_);
      closed_ = true;
    }
    ready_.notify_all();
  }

  // Replaces the content of `into` with all items; waits for the first one if `wait`. False: closed and empty.
  bool drain(std::vector<T>& into, bool wait) {
    into.clear();
    MutexLock lock(mutex_);
    while (wait && !closed_ && items_.empty()) lock.wait(ready_);
    std::swap(into, items_);
    return !closed_ || !into.empty();
  }

 private:
  Mutex mutex_;
  std::condition_variable ready_;
  std::vector<T> items_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace drover
