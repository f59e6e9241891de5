// A blob that is still being fetched: a sparse file, and beside it a ledger of the ranges that it holds already.
//
//   blobs/sha256-<hex>-partial   the content, as long as the blob will be
//   blobs/sha256-<hex>-ledger    "drover-ledger 1 <size>", then one line "<begin> <end>" per range that was written
//
// Ollama calls its own file -partial too, and has ledgers -partial-<n>: a -partial without a -ledger is Ollama's and is
// left alone; the content is then in sha256-<hex>-drover-partial.
//
// Lines are only ever appended, after the bytes that they speak of, so whatever ends the process leaves a ledger that
// claims too little, never too much. If the machine itself stops, a ledger may claim what did not reach the disk: the
// digest, which is computed from the file, finds that.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/blob_store.h"
#include "store/digest.h"

namespace drover::registry {

inline constexpr std::uint64_t kLedgerBytesMax = 64u << 20;
inline constexpr std::chrono::hours kPartialAgeMax{24 * 7};

struct ByteRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  // exclusive
  std::uint64_t size() const { return end - begin; }
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

// A set of bytes. A plain value.
class RangeSet {
 public:
  void add(ByteRange range);
  std::uint64_t bytes() const { return bytes_; }
  // How many bytes from 0 on are all there.
  std::uint64_t prefix() const;
  // What lacks of [0, size), in order, in ranges of at most `bytes_max`.
  std::vector<ByteRange> missing(std::uint64_t size, std::uint64_t bytes_max) const;

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;  // begin to end; disjoint, and no two touch
  std::uint64_t bytes_ = 0;
};

// Used by one thread, but for descriptor(), which may be read from by another.
class PartialFile {
 public:
  // Opens what is left of an earlier try, or begins. Errors: kNoSpace; kUnavailable: another process is fetching it.
  static Result<PartialFile> open(const BlobStore& blobs, const Digest& digest, std::uint64_t size);
  // The bytes of `digest` that a file on disk holds already; 0 if there is none.
  static std::uint64_t bytes_on_disk(const BlobStore& blobs, const Digest& digest);
  // Removes what no Drover has written to for `age`, and what belongs to blobs that are there.
  static void sweep(const BlobStore& blobs, std::chrono::seconds age = kPartialAgeMax);

  PartialFile(PartialFile&& other) noexcept;
  PartialFile& operator=(PartialFile&&) = delete;
  ~PartialFile();

  const RangeSet& done() const { return done_; }
  int descriptor() const { return file_; }

  // Errors: kNoSpace, kInternal.
  Result<void> write(std::uint64_t offset, std::string_view bytes);
  // Enters a range that was written into the ledger.
  Result<void> record(ByteRange range);
  // Forgets everything, to begin anew.
  Result<void> reset();
  // Gives the file, whose digest the caller has checked, its name; durably. The object is of no use after that.
  Result<void> commit();
  // Removes file and ledger.
  void remove();

 private:
  PartialFile(const BlobStore& blobs, const Digest& digest, std::uint64_t size);
  Result<void> open_files();
  void read_ledger();

  BlobStore blobs_;
  Digest digest_;
  std::filesystem::path path_;
  std::filesystem::path ledger_path_;
  std::uint64_t size_;
  int file_ = -1;  // holds an exclusive flock
  int ledger_ = -1;
  RangeSet done_;
};

}  // namespace drover::registry
