// A queue that many threads post to and one thread drains as a whole: the only way threads talk in a runner.
#pragma once

#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

namespace drover {

template <typename T>
class Mailbox {
 public:
  void post(T item) {
    {
      const std::lock_guard lock(mutex_);
      items_.push_back(std::move(item));
    }
    ready_.notify_one();
  }

  // After this, drain() waits no longer.
  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    ready_.notify_all();
  }

  // Takes what is there into `into` (emptied first), waiting for the first item if `wait`. False: closed and empty.
  bool drain(std::vector<T>& into, bool wait) {
    into.clear();
    std::unique_lock lock(mutex_);
    if (wait) ready_.wait(lock, [&] { return closed_ || !items_.empty(); });
    std::swap(into, items_);
    return !closed_ || !into.empty();
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<T> items_;
  bool closed_ = false;
};

}  // namespace drover
