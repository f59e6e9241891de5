#include "registry/hasher.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

namespace drover::registry {
namespace {

constexpr std::size_t kPieceBytes = 1u << 20;
constexpr std::uint64_t kWriteBackBytes = 16u << 20;

}  // namespace

Hasher::Hasher(std::function<void()> wake) : wake_(std::move(wake)), thread_([this] { run(); }) {}

Hasher::~Hasher() {
  stopped_ = true;
  mailbox_.close();
  thread_.join();
}

void Hasher::advance(const std::shared_ptr<HashedFile>& file) {
  mailbox_.post(file);
}

void Hasher::run() {
  std::vector<std::shared_ptr<HashedFile>> files;
  while (mailbox_.drain(files, true)) {
    for (const std::shared_ptr<HashedFile>& file : files) {
      if (!file->done) hash(*file);
    }
  }
}

void Hasher::hash(HashedFile& file) {
  std::string piece(kPieceBytes, '\0');
  while (!stopped_ && file.hashed_ < file.readable) {
    const std::size_t want = std::min<std::uint64_t>(kPieceBytes, file.readable - file.hashed_);
    const ssize_t count = ::pread(file.descriptor, piece.data(), want, static_cast<off_t>(file.hashed_));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int reason = count < 0 ? errno : EIO;
      file.error = internal(
          fmt::format("cannot read what was fetched: {}", std::error_code(reason, std::generic_category()).message()));
      file.done = true;
      return wake_();
    }
    file.hash_.update({piece.data(), static_cast<std::size_t>(count)});
    const std::uint64_t before = file.hashed_;
    file.hashed_ += static_cast<std::uint64_t>(count);
    // Writing to the disk begins now, so that there is little left to wait for at the end.
    if (before / kWriteBackBytes != file.hashed_ / kWriteBackBytes) {
      const auto begin = static_cast<off_t>(before / kWriteBackBytes * kWriteBackBytes);
      ::sync_file_range(file.descriptor, begin, kWriteBackBytes, SYNC_FILE_RANGE_WRITE);
    }
  }
  if (stopped_ || file.hashed_ < file.size) return;
  file.digest = file.hash_.finish();
  file.done = true;
  wake_();
}

}  // namespace drover::registry
