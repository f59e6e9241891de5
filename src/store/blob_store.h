// The blobs folder: files named after the SHA-256 of what they hold.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/atomic_file.h"
#include "store/digest.h"

namespace drover {

// Writes one blob. It becomes visible, whole, in finish(); without finish() nothing of it stays. One thread at a time.
// Errors: kNoSpace (disk full), kInternal.
class BlobWriter {
 public:
  Result<void> write(std::string_view bytes);
  // The file itself, for another program that fills it instead of write(); and what takes in what that has written.
  const std::filesystem::path& file() const { return file_.temporary(); }
  Result<void> take_in();
  std::uint64_t bytes_written() const { return bytes_written_; }

  // Makes the blob durable and visible, notes that no manifest names it, and returns its digest. With `expected`,
  // anything else is refused: kInvalidArgument, `digest mismatch, expected "<a>", got "<b>"`. To be called once, at the
  // end.
  Result<Digest> finish(const std::optional<Digest>& expected = std::nullopt);

 private:
  friend class BlobStore;
  BlobWriter(std::filesystem::path folder, AtomicFile file) : folder_(std::move(folder)), file_(std::move(file)) {}

  std::filesystem::path folder_;
  AtomicFile file_;
  std::uint64_t bytes_written_ = 0;
  Sha256 hash_;
};

// Any thread may call any function at any time; the file system is the only state.
class BlobStore {
 public:
  explicit BlobStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path path(const Digest& digest) const { return folder_ / digest.file_name(); }

  // True if there is a regular file (never a symbolic link) of that name.
  bool has(const Digest& digest) const { return size(digest).ok(); }
  // Its size in bytes. Errors: kNotFound, `blob "sha256:…" not found`; kInvalidArgument: not a regular file.
  Result<std::uint64_t> size(const Digest& digest) const;
  // All of its bytes. Errors: kNotFound; kTooLarge over `bytes_max`.
  Result<std::string> read(const Digest& digest, std::uint64_t bytes_max) const;

  Result<BlobWriter> create() const;
  // Writes `bytes` unless there is such a blob already.
  Result<Digest> put(std::string_view bytes) const;
  // Removes a blob; no error if there is none.
  Result<void> remove(const Digest& digest) const;

  // ---- .drover/written/sha256-<hex>, beside the blobs folder: blobs that no manifest names, and that are Drover's to
  // prune, as it wrote them or took down the last model that named them. All others may be somebody else's. Where that
  // folder is missing nothing is noted.
  void make_notes() const;
  void note_unnamed(const Digest& digest) const;
  void forget_unnamed(const Digest& digest) const;
  std::vector<Digest> unnamed() const;

 private:
  std::filesystem::path notes() const { return folder_.parent_path() / ".drover" / "written"; }

  std::filesystem::path folder_;
};

}  // namespace drover
