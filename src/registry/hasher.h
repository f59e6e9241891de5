// Computes the digests of files while they are being written, so that a download is checked when it ends and not after.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "base/mailbox.h"
#include "base/result.h"
#include "store/digest.h"

namespace drover::registry {

// One file on its way to its digest. What is hashed is what the file says, not what the network said.
struct HashedFile {
  HashedFile(int file, std::uint64_t bytes) : descriptor(file), size(bytes) {}

  const int descriptor;  // must stay open until `done`, or until the Hasher is gone
  const std::uint64_t size;
  std::atomic<std::uint64_t> readable{0};  // bytes from the beginning that are in the file; only grows
  std::atomic<bool> done{false};           // then the two below may be read, and no longer change
  Digest digest;
  std::optional<Error> error;

 private:
  friend class Hasher;
  Sha256 hash_;
  std::uint64_t hashed_ = 0;
};

// Has a thread of its own, which the destructor ends at once. Functions are called by one thread.
class Hasher {
 public:
  // `wake` is called on the hasher's thread whenever a file is done.
  explicit Hasher(std::function<void()> wake);
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  // Goes on with the file, as far as it is readable.
  void advance(const std::shared_ptr<HashedFile>& file);

 private:
  void run();
  void hash(HashedFile& file);

  std::function<void()> wake_;
  std::atomic<bool> stopped_{false};
  Mailbox<std::shared_ptr<HashedFile>> mailbox_;
  std::thread thread_;
};

}  // namespace drover::registry
