#include "registry/partial_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <utility>

#include "store/atomic_file.h"

namespace drover::registry {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPartialSuffix = "-partial";
constexpr std::string_view kOwnPartialSuffix = "-drover-partial";
constexpr std::string_view kLedgerSuffix = "-ledger";
constexpr std::string_view kLedgerMagic = "drover-ledger 1 ";

fs::path ledger_path(const BlobStore& blobs, const Digest& digest) {
  return blobs.folder() / (digest.file_name() + std::string(kLedgerSuffix));
}

fs::path partial_path(const BlobStore& blobs, const Digest& digest) {
  const fs::path shared = blobs.folder() / (digest.file_name() + std::string(kPartialSuffix));
  const fs::path own = blobs.folder() / (digest.file_name() + std::string(kOwnPartialSuffix));
  const auto is_there = [](const fs::path& path) {
    std::error_code error;
    return fs::exists(fs::symlink_status(path, error));
  };
  const bool foreign = is_there(shared) && !is_there(ledger_path(blobs, digest));
  return foreign || is_there(own) ? own : shared;
}

Result<void> write_all(int file, const fs::path& path, std::string_view bytes, std::optional<std::uint64_t> offset) {
  while (!bytes.empty()) {
    const ssize_t count = offset ? ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(*offset))
                                 : ::write(file, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return file_error("write", path, errno);
    bytes.remove_prefix(static_cast<std::size_t>(count));
    if (offset) *offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

// Takes one number and the character behind it off `text`.
std::optional<std::uint64_t> take_number(std::string_view& text, char end) {
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr == text.data() + text.size() || *parsed.ptr != end) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()) + 1);
  return number;
}

}  // namespace

void RangeSet::add(ByteRange range) {
  if (range.begin >= range.end) return;
  auto next = ranges_.upper_bound(range.begin);
  if (next != ranges_.begin() && std::prev(next)->second >= range.begin) --next;
  while (next != ranges_.end() && next->first <= range.end) {
    range.begin = std::min(range.begin, next->first);
    range.end = std::max(range.end, next->second);
    bytes_ -= next->second - next->first;
    next = ranges_.erase(next);
  }
  ranges_.emplace(range.begin, range.end);
  bytes_ += range.size();
}

std::uint64_t RangeSet::prefix() const {
  return ranges_.empty() || ranges_.begin()->first != 0 ? 0 : ranges_.begin()->second;
}

std::vector<ByteRange> RangeSet::missing(std::uint64_t size, std::uint64_t bytes_max) const {
  std::vector<ByteRange> result;
  const auto add_gap = [&](std::uint64_t begin, std::uint64_t end) {
    for (; begin < end; begin += std::min(bytes_max, end - begin)) {
      result.push_back({begin, begin + std::min(bytes_max, end - begin)});
    }
  };
  std::uint64_t at = 0;
  for (const auto& [begin, end] : ranges_) {
    add_gap(at, std::min(begin, size));
    at = end;
  }
  if (at < size) add_gap(at, size);
  return result;
}

PartialFile::PartialFile(const BlobStore& blobs, const Digest& digest, std::uint64_t size)
    : blobs_(blobs),
      digest_(digest),
      path_(partial_path(blobs, digest)),
      ledger_path_(ledger_path(blobs, digest)),
      size_(size) {}

PartialFile::PartialFile(PartialFile&& other) noexcept
    : blobs_(other.blobs_),
      digest_(other.digest_),
      path_(std::move(other.path_)),
      ledger_path_(std::move(other.ledger_path_)),
      size_(other.size_),
      file_(std::exchange(other.file_, -1)),
      ledger_(std::exchange(other.ledger_, -1)),
      done_(std::move(other.done_)) {}

PartialFile::~PartialFile() {
  if (file_ >= 0) ::close(file_);
  if (ledger_ >= 0) ::close(ledger_);
}

Result<PartialFile> PartialFile::open(const BlobStore& blobs, const Digest& digest, std::uint64_t size) {
  PartialFile file(blobs, digest, size);
  if (Result<void> opened = file.open_files(); !opened) return std::move(opened).error();
  file.read_ledger();
  if (file.done_.bytes() == 0) {
    if (Result<void> reset = file.reset(); !reset) return std::move(reset).error();
  }
  return file;
}

Result<void> PartialFile::open_files() {
  constexpr int kFlags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  file_ = ::open(path_.c_str(), kFlags, 0644);
  if (file_ < 0) return file_error("open", path_, errno);
  struct stat status {};
  if (::fstat(file_, &status) != 0 || !S_ISREG(status.st_mode)) {
    return internal(fmt::format("{} is not a regular file", shown_name(path_)));
  }
  if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
    return Error{ErrorCode::kUnavailable, fmt::format("{} is being written by another process", shown_name(path_))};
  }
  ledger_ = ::open(ledger_path_.c_str(), kFlags | O_APPEND, 0644);
  if (ledger_ < 0) return file_error("open", ledger_path_, errno);
  return {};
}

// A ledger that makes no sense is one that says nothing.
void PartialFile::read_ledger() {
  struct stat status {};
  if (::fstat(file_, &status) != 0 || static_cast<std::uint64_t>(status.st_size) != size_) return;
  const Result<std::string> read = read_whole_file(ledger_path_, kLedgerBytesMax);
  if (!read) return;
  std::string_view text = *read;
  if (!text.starts_with(kLedgerMagic)) return;
  text.remove_prefix(kLedgerMagic.size());
  if (take_number(text, '\n') != size_) return;
  std::size_t whole_lines = read->size() - text.size();
  while (!text.empty()) {
    const std::optional<std::uint64_t> begin = take_number(text, ' ');
    const std::optional<std::uint64_t> end = begin ? take_number(text, '\n') : std::nullopt;
    if (!end || *begin >= *end || *end > size_) break;  // the last line may be cut
    done_.add({*begin, *end});
    whole_lines = read->size() - text.size();
  }
  // What is appended next must begin a line.
  if (::ftruncate(ledger_, static_cast<off_t>(whole_lines)) != 0) done_ = RangeSet();
}

Result<void> PartialFile::reset() {
  done_ = RangeSet();
  if (::ftruncate(ledger_, 0) != 0) return file_error("write", ledger_path_, errno);
  if (::ftruncate(file_, 0) != 0 || ::ftruncate(file_, static_cast<off_t>(size_)) != 0) {
    return file_error("write", path_, errno);
  }
  return write_all(ledger_, ledger_path_, fmt::format("{}{}\n", kLedgerMagic, size_), std::nullopt);
}

Result<void> PartialFile::write(std::uint64_t offset, std::string_view bytes) {
  return write_all(file_, path_, bytes, offset);
}

Result<void> PartialFile::record(ByteRange range) {
  done_.add(range);
  return write_all(ledger_, ledger_path_, fmt::format("{} {}\n", range.begin, range.end), std::nullopt);
}

Result<void> PartialFile::commit() {
  if (::fsync(file_) != 0) return file_error("write", path_, errno);
  const fs::path blob = blobs_.path(digest_);
  if (::rename(path_.c_str(), blob.c_str()) != 0) return file_error("write", blob, errno);
  ::unlink(ledger_path_.c_str());
  blobs_.note_unnamed(digest_);
  return sync_folder(blobs_.folder());
}

void PartialFile::remove() {
  ::unlink(path_.c_str());
  ::unlink(ledger_path_.c_str());
}

std::uint64_t PartialFile::bytes_on_disk(const BlobStore& blobs, const Digest& digest) {
  struct stat status {};
  if (::lstat(partial_path(blobs, digest).c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return 0;
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

void PartialFile::sweep(const BlobStore& blobs, std::chrono::seconds age) {
  constexpr std::size_t kDigestLength = 7 + 2 * Digest::kSize;
  std::error_code error;
  const auto now = fs::file_time_type::clock::now();
  for (fs::directory_iterator entry(blobs.folder(), error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const Result<Digest> digest = Digest::parse(std::string_view(name).substr(0, kDigestLength));
    if (!digest) continue;
    const std::string_view suffix = std::string_view(name).substr(kDigestLength);
    if (suffix != kLedgerSuffix && suffix != kOwnPartialSuffix) continue;
    const fs::path partial = partial_path(blobs, *digest);
    std::error_code partial_error;
    const auto touched =
        fs::last_write_time(fs::exists(partial, partial_error) ? partial : entry->path(), partial_error);
    if (partial_error || (now - touched < age && !blobs.has(*digest))) continue;
    ::unlink(partial.c_str());
    ::unlink(entry->path().c_str());
  }
}

}  // namespace drover::registry
