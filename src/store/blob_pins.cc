#include "store/blob_pins.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/descriptor.h"

namespace drover {
namespace {

namespace fs = std::filesystem;

constexpr off_t kOwnerByte = 0;
constexpr off_t kWritersByte = 1;
constexpr off_t kPromisesMax = 1024;  // of one blob

// These locks belong to the open file, not to the process, and go from shared to exclusive and back in one step.
// Returns 0 or errno; EAGAIN: another process holds it.
int set_lock(int file, off_t byte, short type, bool wait) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  while (::fcntl(file, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) != 0) {
    if (errno == EACCES) return EAGAIN;
    if (errno != EINTR) return errno;
  }
  return 0;
}

bool is_over(const fs::path& promise) {
  std::error_code error;
  const auto made = fs::last_write_time(promise, error);
  return error || fs::file_time_type::clock::now() - made > kUnnamedBlobAge;
}

}  // namespace

// ---- pins

BlobPins::Holder::Holder(BlobPins& pins) : pins_(pins) {
  const MutexLock lock(pins_.mutex_);
  if (++pins_.holders_ == 1) pins_.settle_lock();
}

void BlobPins::Holder::pin(const Digest& digest) {
  const MutexLock lock(pins_.mutex_);
  pins_.pinned_.insert(digest);
  held_.push_back(digest);
}

void BlobPins::Holder::release() {
  if (!std::exchange(holding_, false)) return;
  const MutexLock lock(pins_.mutex_);
  for (const Digest& digest : held_) pins_.pinned_.erase(pins_.pinned_.find(digest));
  held_.clear();
  if (--pins_.holders_ == 0) pins_.settle_lock();
}

// ---- the lock

BlobPins::BlobPins(const fs::path& models) : folder_(models / ".drover"), promised_(folder_ / "promised") {}

BlobPins::~BlobPins() {
  if (lock_ >= 0) ::close(lock_);
}

FolderAccess BlobPins::open() {
  for (const fs::path& folder : {folder_, promised_}) ::mkdir(folder.c_str(), 0755);
  lock_ = ::open((folder_ / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (lock_ < 0) return FolderAccess::kReadOnly;
  return set_lock(lock_, kOwnerByte, F_WRLCK, false) == EAGAIN ? FolderAccess::kGuest : FolderAccess::kOwner;
}

// Waits while another process deletes blobs: that takes moments.
void BlobPins::settle_lock() {
  if (lock_ < 0 || alone_) return;
  set_lock(lock_, kWritersByte, holders_ > 0 ? F_RDLCK : F_UNLCK, true);
}

BlobPins::Alone::Alone(BlobPins& pins) : pins_(pins) {
  const MutexLock lock(pins_.mutex_);
  alone_ = pins_.lock_ < 0 || set_lock(pins_.lock_, kWritersByte, F_WRLCK, false) != EAGAIN;
  pins_.alone_ = alone_;
}

BlobPins::Alone::~Alone() {
  if (!alone_) return;
  const MutexLock lock(pins_.mutex_);
  pins_.alone_ = false;
  pins_.settle_lock();
}

// ---- promises

void BlobPins::promise(const Digest& digest) {
  const MutexLock lock(mutex_);
  const fs::path path = promise_path(digest);
  if (is_over(path)) ::unlink(path.c_str());
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644));
  struct stat status {};
  if (file.value() < 0 || ::fstat(file.value(), &status) != 0) return;
  if (status.st_size >= kPromisesMax || ::write(file.value(), "+", 1) != 1) ::futimens(file.value(), nullptr);
}

void BlobPins::keep_promise(const Digest& digest) {
  const MutexLock lock(mutex_);
  const fs::path path = promise_path(digest);
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return;
  if (status.st_size <= 1 || is_over(path)) {
    ::unlink(path.c_str());
  } else if (::truncate(path.c_str(), status.st_size - 1) == 0) {
    const timespec times[] = {status.st_atim, status.st_mtim};
    ::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);
  }
}

bool BlobPins::is_promised(const Digest& digest) const {
  return !is_over(promise_path(digest));
}

void BlobPins::sweep_promises() {
  const MutexLock lock(mutex_);
  std::error_code error;
  for (fs::directory_iterator entry(promised_, error), end; !error && entry != end; entry.increment(error)) {
    if (is_over(entry->path())) ::unlink(entry->path().c_str());
  }
}

}  // namespace drover
