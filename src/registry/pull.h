// One pull: a model's manifest and its blobs, from a registry into the store.
//
// The blobs come in ranges, several at once, straight to their place in a file; what was fetched is hashed meanwhile,
// in order, from the file. A blob gets its name only when its digest is right, and the manifest its place only when all
// blobs are there. Whatever ends the pull, the next one goes on where it stopped.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "registry/hasher.h"
#include "registry/partial_file.h"
#include "registry/registry.h"
#include "registry/session.h"
#include "store/model_store.h"

namespace drover::registry {

inline constexpr std::uint64_t kRangeBytes = 16u << 20;         // one request
inline constexpr std::uint64_t kLedgerStepBytes = 1u << 20;     // how much a killed process may fetch twice, a range
inline constexpr std::size_t kRangesAtOnceMax = 8;              // of one pull
inline constexpr std::size_t kBlobsAtOnceMax = 8;               // of one pull
inline constexpr int kAttemptsMax = 6;                          // of one range, without progress in between
inline constexpr std::uint64_t kProgressBytesMin = 256u << 10;  // less than that is no progress
inline constexpr std::chrono::milliseconds kBackOffMin{250};    // doubled with each attempt

// Used by one thread, that of its job.
class Pull {
 public:
  using Report = std::function<void(const Progress&)>;
  // All must outlive the pull.
  Pull(ModelStore& store, BlobClaims& claims, Session& session, ModelName name, const Report& report);
  ~Pull();

  // Errors: see Session; "pull model manifest: …"; "digest mismatch, …"; kNoSpace.
  Result<void> run();

 private:
  using TimePoint = std::chrono::steady_clock::time_point;
  enum class Stage { kWaiting, kWatching, kFetching, kHashing, kDone };
  struct Piece {  // a range to be fetched
    ByteRange range;
    int attempts = 0;
    TimePoint not_before;
  };
  struct Blob {
    explicit Blob(const Layer& its_layer) : layer(its_layer) {}
    const Layer layer;
    Stage stage = Stage::kWaiting;
    std::optional<BlobClaims::Claim> claim;
    std::optional<PartialFile> file;
    std::shared_ptr<HashedFile> hashed;
    std::deque<Piece> pieces;           // to be fetched, in order
    std::uint64_t in_flight_bytes = 0;  // arrived, but not in the ledger yet
    std::size_t fetches = 0;            // under way
    bool resumed = false;               // some of it comes from an earlier try
    bool whole = false;                 // the registry knows no ranges
    std::string direct_url;             // where the registry sent us; "" to ask it
    std::uint64_t reported = UINT64_MAX;
  };
  struct Fetch {  // a piece under way
    Blob* blob = nullptr;
    Piece piece;
    std::uint64_t at = 0;        // the next byte that is expected
    std::uint64_t recorded = 0;  // up to here it is in the ledger
    bool was_direct = false;
    bool no_ranges = false;  // the registry sent something else than was asked for
  };

  Result<void> fetch_manifest();
  Result<void> check_space() const;
  Result<void> fetch_blobs();
  Result<void> begin_blobs();
  Result<void> begin_blob(Blob& blob);
  void plan(Blob& blob);
  bool start_fetches();
  void start_fetch(Blob& blob, Piece piece);
  Result<void> take(Fetch& fetch, const Answer& head, std::string_view bytes);
  Result<void> check_head(Fetch& fetch, const Answer& head) const;
  Result<void> end_fetch(CallId id, Result<Answer> answer);
  Result<void> record(Fetch& fetch);
  Result<void> try_again(Fetch& fetch, const Error& error);
  Result<void> start_over_whole(Blob& blob);
  Result<void> look_at_hash(Blob& blob);
  void watch(Blob& blob);
  void report_layers();
  void report_layer(Blob& blob, std::uint64_t completed);
  Result<void> write_manifest();

  ModelStore& store_;
  BlobClaims& claims_;
  Session& session_;
  const ModelName name_;
  const Report& report_;
  BlobPins::Holder pins_;
  std::string manifest_;
  std::list<Blob> blobs_;
  std::map<CallId, Fetch> fetches_;
  bool verifying_ = false;  // was reported
  TimePoint next_report_;
  Hasher hasher_;  // last: its thread reads the files of blobs_
};

}  // namespace drover::registry
