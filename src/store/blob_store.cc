#include "store/blob_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/descriptor.h"

namespace drover {
namespace {

constexpr std::size_t kReadBytes = 1u << 20;

// The same bytes came again: a fresh time keeps the file from being pruned before a manifest refers to it.
void renew(const std::filesystem::path& path) {
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
}

}  // namespace

Result<void> BlobWriter::write(std::string_view bytes) {
  if (Result<void> written = file_.write(bytes); !written) return written;
  hash_.update(bytes);
  bytes_written_ += bytes.size();
  return {};
}

Result<void> BlobWriter::take_in() {
  std::vector<char> piece(kReadBytes);
  while (true) {
    const Result<std::size_t> count = file_.read(bytes_written_, piece);
    if (!count) return count.error();
    if (*count == 0) return {};
    hash_.update(std::string_view(piece.data(), *count));
    bytes_written_ += *count;
  }
}

Result<Digest> BlobWriter::finish(const std::optional<Digest>& expected) {
  const Digest digest = hash_.finish();
  if (expected && *expected != digest) {
    return invalid(
        fmt::format("digest mismatch, expected \"{}\", got \"{}\"", expected->to_string(), digest.to_string()));
  }
  const BlobStore store(folder_);
  const std::filesystem::path path = store.path(digest);
  const Result<std::uint64_t> existing = store.size(digest);
  if (existing.ok() && *existing == bytes_written_) {
    renew(path);
    return digest;
  }
  if (Result<void> committed = file_.commit(path); !committed) return std::move(committed).error();
  store.note_unnamed(digest);
  return digest;
}

Result<std::uint64_t> BlobStore::size(const Digest& digest) const {
  struct stat status {};
  if (::lstat(path(digest).c_str(), &status) != 0) {
    if (errno == ENOENT) return not_found(fmt::format("blob \"{}\" not found", digest.to_string()));
    return file_error("read", path(digest), errno);
  }
  if (!S_ISREG(status.st_mode)) {
    return invalid(fmt::format("blob \"{}\" is not a regular file", digest.to_string()));
  }
  return static_cast<std::uint64_t>(status.st_size);
}

Result<std::string> BlobStore::read(const Digest& digest, std::uint64_t bytes_max) const {
  Result<std::string> bytes = read_whole_file(path(digest), bytes_max);
  if (!bytes && bytes.error().code == ErrorCode::kNotFound) {
    return not_found(fmt::format("blob \"{}\" not found", digest.to_string()));
  }
  return bytes;
}

Result<BlobWriter> BlobStore::create() const {
  Result<AtomicFile> file = AtomicFile::create(folder_);
  if (!file) return std::move(file).error();
  return BlobWriter(folder_, std::move(*file));
}

Result<Digest> BlobStore::put(std::string_view bytes) const {
  const Digest digest = Digest::of(bytes);
  const Result<std::uint64_t> existing = size(digest);
  if (existing.ok() && *existing == bytes.size()) {
    renew(path(digest));
    return digest;
  }
  Result<BlobWriter> writer = create();
  if (!writer) return std::move(writer).error();
  if (Result<void> written = writer->write(bytes); !written) return std::move(written).error();
  return writer->finish(digest);
}

Result<void> BlobStore::remove(const Digest& digest) const {
  if (::unlink(path(digest).c_str()) != 0 && errno != ENOENT) return file_error("remove", path(digest), errno);
  return {};
}

void BlobStore::make_notes() const {
  ::mkdir(notes().c_str(), 0755);
}

// A note comes after the blob: one without a blob could later be taken for a note about somebody else's.
void BlobStore::note_unnamed(const Digest& digest) const {
  const std::filesystem::path path = notes() / digest.file_name();
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
}

void BlobStore::forget_unnamed(const Digest& digest) const {
  ::unlink((notes() / digest.file_name()).c_str());
}

std::vector<Digest> BlobStore::unnamed() const {
  std::vector<Digest> digests;
  std::error_code error;
  std::filesystem::directory_iterator entry(notes(), error);
  for (const std::filesystem::directory_iterator end; !error && entry != end; entry.increment(error)) {
    if (const Result<Digest> digest = Digest::parse(entry->path().filename().string())) digests.push_back(*digest);
  }
  return digests;
}

}  // namespace drover
