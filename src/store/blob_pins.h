// Keeps blobs from being deleted while a model that needs them is being made.
#pragma once

#include <mutex>
#include <set>
#include <vector>

#include "store/digest.h"

namespace drover {

// Any thread may call any function at any time.
class BlobPins {
 public:
  // Holds the pins of one creation, for as long as it lives. One thread at a time.
  class Holder {
   public:
    explicit Holder(BlobPins& pins) : pins_(pins) {}
    ~Holder() { release(); }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

    // To be called before looking whether the blob exists: from then on, what exists stays.
    void pin(const Digest& digest);
    // Lets go of all pins: what is still needed has a manifest by now.
    void release();

   private:
    BlobPins& pins_;
    std::vector<Digest> held_;
  };

  // Calls remove() unless the blob is pinned. Nobody can pin it meanwhile.
  template <typename Remove>
  void remove_unless_pinned(const Digest& digest, Remove remove) {
    const std::lock_guard lock(mutex_);
    if (!pinned_.contains(digest)) remove();
  }

 private:
  std::mutex mutex_;
  std::multiset<Digest> pinned_;  // Guarded by mutex_.
};

inline void BlobPins::Holder::release() {
  const std::lock_guard lock(pins_.mutex_);
  for (const Digest& digest : held_) pins_.pinned_.erase(pins_.pinned_.find(digest));
  held_.clear();
}

inline void BlobPins::Holder::pin(const Digest& digest) {
  const std::lock_guard lock(pins_.mutex_);
  pins_.pinned_.insert(digest);
  held_.push_back(digest);
}

}  // namespace drover
