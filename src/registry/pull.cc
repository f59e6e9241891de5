#include "registry/pull.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "registry/protocol.h"
#include "store/manifest.h"

namespace drover::registry {
namespace {

constexpr std::string_view kOciManifestMediaType = "application/vnd.oci.image.manifest.v1+json";

bool is_worth_another_try(const Result<Answer>& answer) {
  if (!answer) return answer.error().code == ErrorCode::kUnavailable;
  return answer->status >= 500 || answer->status == 429 || answer->status == 408;
}

// "bytes 0-99/200", all three of which must be there.
struct ContentRange {
  ByteRange range;
  std::uint64_t total = 0;
};
std::optional<ContentRange> parse_content_range(std::string_view text) {
  const auto take = [&text](std::string_view before) -> std::optional<std::uint64_t> {
    if (!text.starts_with(before)) return std::nullopt;
    text.remove_prefix(before.size());
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
    if (parsed.ec != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
    return number;
  };
  const auto first = take("bytes ");
  const auto last = first ? take("-") : std::nullopt;
  const auto total = last ? take("/") : std::nullopt;
  if (!total || !text.empty() || *last == UINT64_MAX) return std::nullopt;
  return ContentRange{{*first, *last + 1}, *total};
}

Error wrong_size(const Layer& layer, std::uint64_t size) {
  return invalid(fmt::format("the registry has {} bytes of {}, but the manifest says {}", size,
                             layer.digest.to_string(), layer.size));
}

}  // namespace

Pull::Pull(ModelStore& store, BlobClaims& claims, Session& session, ModelName name, const Report& report)
    : store_(store),
      claims_(claims),
      session_(session),
      name_(std::move(name)),
      report_(report),
      pins_(store.hold_blobs()),
      hasher_([this] { session_.wake(); }) {}

// What is under way still writes into the blobs' files.
Pull::~Pull() {
  for (const auto& [id, fetch] : fetches_) session_.abandon(id);
}

Result<void> Pull::run() {
  report_({"pulling manifest", "", 0, 0});
  if (Result<void> fetched = fetch_manifest(); !fetched) {
    Error error = std::move(fetched).error();
    error.message = "pull model manifest: " + error.message;
    return error;
  }
  if (Result<void> fetched = fetch_blobs(); !fetched) return fetched;
  return write_manifest();
}

Result<void> Pull::fetch_manifest() {
  std::optional<Result<Answer>> answer;
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (attempt > 0) session_.pause(kBackOffMin * (1 << attempt));
    Call call;
    call.url = fmt::format("{}/manifests/{}", repository_url(session_, name_), name_.tag());
    call.headers = {fmt::format("Accept: {}, {}", kManifestMediaType, kOciManifestMediaType)};
    call.answer_bytes_max = kManifestBytesMax;
    answer.emplace(session_.send(std::move(call)));
    if (session_.canceled() || !is_worth_another_try(*answer)) break;
  }
  if (!*answer) return answer->error();
  if ((*answer)->status != 200) return error_of_answer(**answer);
  manifest_ = std::move((*answer)->body);
  const Result<Manifest> manifest = Manifest::parse(manifest_);
  if (!manifest) return manifest.error();

  std::vector<Layer> layers = manifest->layers;
  layers.push_back(manifest->config);
  std::map<Digest, std::uint64_t> seen;
  for (const Layer& layer : layers) {
    const auto [entry, is_new] = seen.emplace(layer.digest, layer.size);
    if (entry->second != layer.size) return invalid("manifest is broken: two sizes of one digest");
    if (is_new) blobs_.emplace_back(layer);
    pins_.pin(layer.digest);
  }
  return {};
}

// A disk that cannot hold the model is better told at once than after an hour.
Result<void> Pull::check_space() const {
  std::uint64_t missing = 0;
  for (const Blob& blob : blobs_) {
    const Result<std::uint64_t> size = store_.blobs().size(blob.layer.digest);
    if (size.ok() && *size == blob.layer.size) continue;
    missing +=
        blob.layer.size - std::min(blob.layer.size, PartialFile::bytes_on_disk(store_.blobs(), blob.layer.digest));
  }
  struct statvfs status {};
  if (::statvfs(store_.blobs().folder().c_str(), &status) != 0) return {};
  const std::uint64_t available = static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
  if (missing <= available) return {};
  return Error{ErrorCode::kNoSpace,
               fmt::format("no space left on device: {} takes {} more bytes, and the model folder has {}",
                           name_.display_shortest(), missing, available)};
}

// ---- blobs

Result<void> Pull::fetch_blobs() {
  if (Result<void> space = check_space(); !space) return space;
  while (true) {
    if (session_.canceled()) return Error{ErrorCode::kCanceled, "canceled"};
    if (Result<void> begun = begin_blobs(); !begun) return begun;
    start_fetches();
    report_layers();
    const auto at = [this](Stage stage) {
      return std::any_of(blobs_.begin(), blobs_.end(), [stage](const Blob& blob) { return blob.stage == stage; });
    };
    if (!at(Stage::kWaiting) && !at(Stage::kWatching) && !at(Stage::kFetching) && !std::exchange(verifying_, true)) {
      report_({"verifying sha256 digest", "", 0, 0});
    }
    if (verifying_ &&
        std::all_of(blobs_.begin(), blobs_.end(), [](const Blob& b) { return b.stage == Stage::kDone; })) {
      return {};
    }
    for (Outcome& outcome : session_.wait(Session::kTick)) {
      if (Result<void> ended = end_fetch(outcome.id, std::move(outcome.answer)); !ended) return ended;
    }
    for (Blob& blob : blobs_) {
      if (Result<void> looked = look_at_hash(blob); !looked) return looked;
    }
  }
}

Result<void> Pull::begin_blobs() {
  std::size_t open = 0;
  for (const Blob& blob : blobs_) open += blob.stage == Stage::kFetching || blob.stage == Stage::kHashing;
  for (Blob& blob : blobs_) {
    if (blob.stage != Stage::kWaiting && blob.stage != Stage::kWatching) continue;
    if (open >= kBlobsAtOnceMax) break;
    if (Result<void> begun = begin_blob(blob); !begun) return begun;
    open += blob.stage == Stage::kFetching;
  }
  return {};
}

Result<void> Pull::begin_blob(Blob& blob) {
  const auto is_there = [&] {
    const Result<std::uint64_t> size = store_.blobs().size(blob.layer.digest);
    return size.ok() && *size == blob.layer.size;
  };
  if (!is_there()) {
    blob.claim.reset();
    std::optional<BlobClaims::Claim> claim = claims_.claim(blob.layer.digest);
    if (!claim) {
      watch(blob);
      return {};
    }
    blob.claim.emplace(std::move(*claim));
  }
  // Whoever had the claim before may have put it there since.
  if (is_there()) {
    blob.claim.reset();
    blob.stage = Stage::kDone;
    report_layer(blob, blob.layer.size);
    return {};
  }
  Result<PartialFile> file = PartialFile::open(store_.blobs(), blob.layer.digest, blob.layer.size);
  if (!file) return std::move(file).error();
  blob.file.emplace(std::move(*file));
  blob.resumed = blob.file->done().bytes() > 0;
  plan(blob);
  return {};
}

// Begins with what the file holds.
void Pull::plan(Blob& blob) {
  blob.stage = Stage::kFetching;
  blob.in_flight_bytes = 0;
  blob.pieces.clear();
  const std::uint64_t piece_bytes = blob.whole ? std::max<std::uint64_t>(blob.layer.size, 1) : kRangeBytes;
  for (const ByteRange& range : blob.file->done().missing(blob.layer.size, piece_bytes)) {
    blob.pieces.push_back({range, 0, {}});
  }
  blob.hashed = std::make_shared<HashedFile>(blob.file->descriptor(), blob.layer.size);
  blob.hashed->readable = blob.file->done().prefix();
  hasher_.advance(blob.hashed);
  if (blob.pieces.empty()) blob.stage = Stage::kHashing;
}

void Pull::watch(Blob& blob) {
  blob.stage = Stage::kWatching;
  if (const auto completed = claims_.completed(blob.layer.digest)) {
    if (std::chrono::steady_clock::now() >= next_report_) report_layer(blob, *completed);
  }
}

// Fills the places that are free; the first blobs first, each from its beginning. True: something was started.
bool Pull::start_fetches() {
  const auto now = std::chrono::steady_clock::now();
  bool started = false;
  for (Blob& blob : blobs_) {
    if (blob.stage != Stage::kFetching) continue;
    for (auto piece = blob.pieces.begin(); piece != blob.pieces.end() && fetches_.size() < kRangesAtOnceMax;) {
      if (piece->not_before > now) {
        ++piece;
        continue;
      }
      const Piece next = *piece;
      piece = blob.pieces.erase(piece);
      start_fetch(blob, next);
      started = true;
    }
  }
  return started;
}

void Pull::start_fetch(Blob& blob, Piece piece) {
  Call call;
  const std::string url = fmt::format("{}/blobs/{}", repository_url(session_, name_), blob.layer.digest.to_string());
  call.url = blob.direct_url.empty() ? url : blob.direct_url;
  if (!blob.whole) {
    call.headers = {fmt::format("Range: bytes={}-{}", piece.range.begin, piece.range.end - 1)};
  }
  auto fetch = std::make_shared<Fetch*>(nullptr);
  call.sink = [this, fetch](const Answer& head, std::string_view bytes) { return take(**fetch, head, bytes); };
  const bool direct = !blob.direct_url.empty();
  const CallId id = session_.start(std::move(call));
  Fetch& entry = fetches_[id];
  entry = {&blob, piece, piece.range.begin, piece.range.begin, direct, false};
  *fetch = &entry;
  ++blob.fetches;
}

// A part of a range, as it arrives.
Result<void> Pull::take(Fetch& fetch, const Answer& head, std::string_view bytes) {
  if (fetch.at == fetch.piece.range.begin) {
    if (Result<void> checked = check_head(fetch, head); !checked) return checked;
  }
  Blob& blob = *fetch.blob;
  if (bytes.size() > fetch.piece.range.end - fetch.at) {
    return invalid(fmt::format("the registry sent more of {} than requested", blob.layer.digest.to_string()));
  }
  if (Result<void> written = blob.file->write(fetch.at, bytes); !written) return written;
  fetch.at += bytes.size();
  blob.in_flight_bytes += bytes.size();
  if (fetch.at - fetch.recorded < kLedgerStepBytes) return {};
  return record(fetch);
}

Result<void> Pull::check_head(Fetch& fetch, const Answer& head) const {
  const Layer& layer = fetch.blob->layer;
  if (head.status == 206) {
    const std::optional<ContentRange> said = parse_content_range(head.content_range);
    if (!said) return invalid(fmt::format("the registry's answer has no valid range: \"{}\"", head.content_range));
    if (said->total != layer.size) return wrong_size(layer, said->total);
    if (said->range != fetch.piece.range) return invalid("the registry sent another range than requested");
    return {};
  }
  // The whole blob instead of a range. That is as good if the range is all there is.
  if (head.length && *head.length != layer.size) return wrong_size(layer, *head.length);
  if (fetch.piece.range == ByteRange{0, layer.size}) return {};
  fetch.no_ranges = true;
  return internal("the registry does not support ranges");
}

// Enters what has arrived into the ledger, and lets the hasher have it.
Result<void> Pull::record(Fetch& fetch) {
  if (fetch.at == fetch.recorded) return {};
  Blob& blob = *fetch.blob;
  if (Result<void> recorded = blob.file->record({fetch.recorded, fetch.at}); !recorded) return recorded;
  blob.in_flight_bytes -= fetch.at - fetch.recorded;
  fetch.recorded = fetch.at;
  const std::uint64_t prefix = blob.file->done().prefix();
  if (prefix > blob.hashed->readable) {
    blob.hashed->readable = prefix;
    hasher_.advance(blob.hashed);
  }
  return {};
}

Result<void> Pull::end_fetch(CallId id, Result<Answer> answer) {
  const auto entry = fetches_.find(id);
  if (entry == fetches_.end()) return {};
  Fetch fetch = entry->second;
  fetches_.erase(entry);
  Blob& blob = *fetch.blob;
  --blob.fetches;
  if (Result<void> recorded = record(fetch); !recorded) return recorded;
  if (fetch.no_ranges) return start_over_whole(blob);

  const bool refused = answer.ok() ? answer->status >= 400 : answer.error().code == ErrorCode::kForbidden;
  if (refused && fetch.was_direct) {
    // Such addresses are good for a while only: the registry knows the next one.
    blob.direct_url.clear();
    blob.pieces.push_front({{fetch.at, fetch.piece.range.end}, fetch.piece.attempts, {}});
    return {};
  }
  if (is_worth_another_try(answer)) return try_again(fetch, answer.ok() ? error_of_answer(*answer) : answer.error());
  if (!answer) return std::move(answer).error();
  if (answer->status != 200 && answer->status != 206) return error_of_answer(*answer);
  if (fetch.at < fetch.piece.range.end) {
    return try_again(fetch,
                     Error{ErrorCode::kUnavailable,
                           fmt::format("the registry sent {} of {} bytes of {}", fetch.at - fetch.piece.range.begin,
                                       fetch.piece.range.size(), blob.layer.digest.to_string())});
  }
  const Result<Url> url = Url::parse(answer->url);
  if (url.ok() && url->origin() != session_.registry().origin()) blob.direct_url = answer->url;
  if (blob.pieces.empty() && blob.fetches == 0) {
    blob.stage = Stage::kHashing;
    report_layer(blob, blob.layer.size);  // now: it may be done before the next look at the layers
  }
  return {};
}

Result<void> Pull::try_again(Fetch& fetch, const Error& error) {
  Blob& blob = *fetch.blob;
  const bool moved = fetch.at - fetch.piece.range.begin >= kProgressBytesMin;
  const int attempts = moved ? 1 : fetch.piece.attempts + 1;
  if (attempts >= kAttemptsMax) {
    return Error{ErrorCode::kUnavailable, fmt::format("max retries exceeded: {}", error.message)};
  }
  spdlog::info("{}: {}; trying again", name_.display_shortest(), error.message);
  if (blob.whole) {  // without ranges there is no going on
    if (Result<void> reset = blob.file->reset(); !reset) return reset;
    plan(blob);
  } else {
    blob.pieces.push_front({{fetch.at, fetch.piece.range.end}, 0, {}});
  }
  blob.pieces.front().attempts = attempts;
  blob.pieces.front().not_before = std::chrono::steady_clock::now() + kBackOffMin * (1 << (attempts - 1));
  return {};
}

// For a registry that has only whole blobs.
Result<void> Pull::start_over_whole(Blob& blob) {
  std::erase_if(fetches_, [&](const auto& entry) {
    if (entry.second.blob != &blob) return false;
    session_.abandon(entry.first);
    return true;
  });
  blob.fetches = 0;
  blob.whole = true;
  if (Result<void> reset = blob.file->reset(); !reset) return reset;
  plan(blob);
  return {};
}

Result<void> Pull::look_at_hash(Blob& blob) {
  if (blob.stage != Stage::kHashing || !blob.hashed->done) return {};
  if (blob.hashed->error) return *blob.hashed->error;
  if (blob.hashed->digest != blob.layer.digest) {
    if (blob.resumed) {
      // Perhaps what an earlier try left was damaged; then it is fetched anew, once.
      spdlog::warn("{}: the partial download of {} is damaged and is fetched again", name_.display_shortest(),
                   blob.layer.digest.to_string());
      blob.resumed = false;
      if (Result<void> reset = blob.file->reset(); !reset) return reset;
      plan(blob);
      return {};
    }
    blob.file->remove();
    return invalid(fmt::format("digest mismatch, file must be downloaded again: want {}, got {}",
                               blob.layer.digest.to_string(), blob.hashed->digest.to_string()));
  }
  if (Result<void> committed = blob.file->commit(); !committed) return committed;
  blob.stage = Stage::kDone;
  blob.file.reset();
  blob.claim.reset();
  return {};
}

// ---- what the client sees

void Pull::report_layers() {
  const auto now = std::chrono::steady_clock::now();
  const bool due = now >= next_report_;
  for (Blob& blob : blobs_) {
    if (blob.stage != Stage::kFetching && blob.stage != Stage::kHashing) continue;
    const std::uint64_t completed = blob.file->done().bytes() + blob.in_flight_bytes;
    blob.claim->report(completed);
    if (due || blob.stage == Stage::kHashing || blob.reported == UINT64_MAX) report_layer(blob, completed);
  }
  if (due) next_report_ = now + Session::kTick;
}

void Pull::report_layer(Blob& blob, std::uint64_t completed) {
  if (blob.reported == completed) return;
  blob.reported = completed;
  report_(layer_progress("pulling", blob.layer, completed));
}

Result<void> Pull::write_manifest() {
  report_({"writing manifest", "", 0, 0});
  bool replaces = false;
  if (const Result<std::string> old = store_.manifest_text(name_); old.ok()) {
    const std::set<Digest> now = digests_in(manifest_);
    for (const Digest& digest : digests_in(*old)) replaces = replaces || !now.contains(digest);
  }
  if (Result<void> written = store_.write_manifest(name_, manifest_, pins_); !written) return written;
  if (replaces) report_({"removing unused layers", "", 0, 0});
  report_({"success", "", 0, 0});
  return {};
}

}  // namespace drover::registry
