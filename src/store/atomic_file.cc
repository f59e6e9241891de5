#include "store/atomic_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "base/descriptor.h"

namespace drover {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporaryPrefix = ".drover-write-";
constexpr int kCreateTriesMax = 16;

// A file or folder that vanishes under a writer is nothing that a client asked for and did not get.
Error write_error(const fs::path& path, int error_number) {
  Error error = file_error("write", path, error_number);
  if (error.code == ErrorCode::kNotFound) error.code = ErrorCode::kInternal;
  return error;
}

}  // namespace

std::string shown_name(const fs::path& path) {
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

Error file_error(std::string_view action, const fs::path& path, int error_number) {
  Error error;
  error.message = fmt::format("cannot {} {}: {}", action, shown_name(path),
                              std::error_code(error_number, std::generic_category()).message());
  if (error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG) error.code = ErrorCode::kNoSpace;
  if (error_number == ENOENT || error_number == ENOTDIR) error.code = ErrorCode::kNotFound;
  return error;
}

Result<std::string> read_whole_file(const fs::path& path, std::uint64_t bytes_max) {
  // O_NONBLOCK keeps a FIFO that somebody put there from blocking the open.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.value() < 0 && errno == ELOOP) return invalid(fmt::format("{} is a symbolic link", shown_name(path)));
  if (file.value() < 0) return file_error("open", path, errno);
  struct stat status {};
  if (::fstat(file.value(), &status) != 0) return file_error("read", path, errno);
  if (!S_ISREG(status.st_mode)) return invalid(fmt::format("{} is not a regular file", shown_name(path)));
  if (static_cast<std::uint64_t>(status.st_size) > bytes_max) {
    return Error{ErrorCode::kTooLarge,
                 fmt::format("{} has {} bytes, more than {}", shown_name(path), status.st_size, bytes_max)};
  }
  std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(file.value(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return file_error("read", path, errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

Result<void> sync_folder(const fs::path& folder) {
  const Descriptor file(::open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (file.value() < 0) return file_error("open", folder, errno);
  // File systems that cannot sync a folder say EINVAL; there is nothing more to be had from them.
  if (::fsync(file.value()) != 0 && errno != EINVAL) return file_error("sync", folder, errno);
  return {};
}

Result<void> make_folders(const fs::path& folder) {
  std::error_code error;
  if (fs::is_directory(folder, error)) return {};
  if (folder.has_parent_path() && folder.parent_path() != folder) {
    if (Result<void> parent = make_folders(folder.parent_path()); !parent) return parent;
  }
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return file_error("make", folder, errno);
  return sync_folder(folder.parent_path());
}

Result<AtomicFile> AtomicFile::create(const fs::path& folder) {
  if (Result<void> made = make_folders(folder); !made) return std::move(made).error();
  for (int attempt = 0; attempt < kCreateTriesMax; ++attempt) {
    std::string name = (folder / fmt::format("{}XXXXXX", kTemporaryPrefix)).string();
    const int descriptor = ::mkostemp(name.data(), O_CLOEXEC);
    if (descriptor < 0) return write_error(folder, errno);
    AtomicFile file(name, descriptor);
    // A sweep may have removed the file between its creation and the lock; a file without a name is of no use.
    struct stat status {};
    ::flock(descriptor, LOCK_EX);
    if (::fstat(descriptor, &status) == 0 && status.st_nlink > 0) return file;
  }
  return internal(fmt::format("cannot write in {}: temporary files vanish", shown_name(folder)));
}

AtomicFile::AtomicFile(fs::path temporary, int descriptor)
    : temporary_(std::move(temporary)), descriptor_(descriptor) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : temporary_(std::exchange(other.temporary_, {})), descriptor_(std::exchange(other.descriptor_, -1)) {}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  close();
}

void AtomicFile::close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

Result<void> AtomicFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return write_error(temporary_, errno);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

Result<std::size_t> AtomicFile::read(std::uint64_t offset, std::span<char> into) const {
  while (true) {
    const ssize_t count = ::pread(descriptor_, into.data(), into.size(), static_cast<off_t>(offset));
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EINTR) return file_error("read", temporary_, errno);
  }
}

Result<void> AtomicFile::commit(const fs::path& path) {
  if (::fchmod(descriptor_, 0644) != 0 || ::fsync(descriptor_) != 0) return write_error(path, errno);
  if (::rename(temporary_.c_str(), path.c_str()) != 0) return write_error(path, errno);
  temporary_.clear();
  close();
  return sync_folder(path.parent_path());
}

void AtomicFile::sweep(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (!entry->path().filename().string().starts_with(kTemporaryPrefix)) continue;
    const Descriptor file(::open(entry->path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (file.value() >= 0 && ::flock(file.value(), LOCK_EX | LOCK_NB) == 0) ::unlink(entry->path().c_str());
  }
}

}  // namespace drover
