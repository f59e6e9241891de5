// Keeps blobs from being deleted while somebody needs them who has no manifest that names them yet.
#pragma once

#include <chrono>
#include <filesystem>
#include <set>
#include <vector>

#include "base/mutex.h"
#include "store/digest.h"

namespace drover {

// How long a blob stays that no manifest names: one that a client was told is there, and one that was written for a
// model that was never finished.
inline constexpr std::chrono::hours kUnnamedBlobAge{24};

// What this process may do in a model folder.
enum class FolderAccess {
  kOwner,     // it is the first server there, and prunes
  kGuest,     // it reads and writes, and another server prunes
  kReadOnly,  // it can write nothing there
};

// In this process, and among all Drovers that use one folder (Ollama knows nothing of it):
//
//   .drover/lock                   locked with fcntl's locks of open files: byte 0 by the owner; byte 1 shared by every
//                                  process that is making models, exclusively by one that deletes blobs
//   .drover/promised/sha256-<hex>  a blob that clients were told is there, a byte for each time
//
// Any thread may call any function at any time, after open().
class BlobPins {
 public:
  // Holds the pins of one operation, for as long as it lives. While there is one, no other process deletes blobs, and
  // none of its blobs is deleted by this one. One thread at a time. Beginning waits while another process deletes.
  class Holder {
   public:
    explicit Holder(BlobPins& pins);
    ~Holder() { release(); }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

    // To be called before looking whether the blob exists: from then on, what exists stays.
    void pin(const Digest& digest);
    // Lets go of all pins, for good: what is still needed has a manifest by now.
    void release();

   private:
    BlobPins& pins_;
    bool holding_ = true;
    std::vector<Digest> held_;
  };

  // For as long as it lives this process is the only one that makes models. At most one at a time.
  class Alone {
   public:
    explicit Alone(BlobPins& pins);
    ~Alone();
    Alone(const Alone&) = delete;
    Alone& operator=(const Alone&) = delete;
    // False: another process is making a model, so nothing may be deleted now.
    explicit operator bool() const { return alone_; }

   private:
    BlobPins& pins_;
    bool alone_;
  };

  explicit BlobPins(const std::filesystem::path& models);
  ~BlobPins();
  BlobPins(const BlobPins&) = delete;
  BlobPins& operator=(const BlobPins&) = delete;

  // Makes what lies in .drover. To be called once, before everything else. A folder whose file system has no locks is
  // treated as if nobody else used it.
  FolderAccess open();

  // Calls remove() unless the blob is pinned or promised; false: it is. Nobody can pin or promise it meanwhile.
  template <typename Remove>
  bool remove_unless_needed(const Digest& digest, Remove remove) {
    const MutexLock lock(mutex_);
    if (pinned_.contains(digest) || is_promised(digest)) return false;
    remove();
    return true;
  }

  // A promise stands for kUnnamedBlobAge, or until it is kept. To be called while a Holder has the blob pinned.
  void promise(const Digest& digest);
  // Takes one promise back: a model was made from the blob.
  void keep_promise(const Digest& digest);
  // Forgets the promises that are over.
  void sweep_promises();

 private:
  std::filesystem::path promise_path(const Digest& digest) const { return promised_ / digest.file_name(); }
  bool is_promised(const Digest& digest) const REQUIRES(mutex_);
  void settle_lock() REQUIRES(mutex_);

  std::filesystem::path folder_;
  std::filesystem::path promised_;
  int lock_ = -1;
  Mutex mutex_;
  std::multiset<Digest> pinned_ GUARDED_BY(mutex_);
  std::size_t holders_ GUARDED_BY(mutex_) = 0;
  bool alone_ GUARDED_BY(mutex_) = false;
};

}  // namespace drover
