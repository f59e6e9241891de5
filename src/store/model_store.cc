#include "store/model_store.h"

#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>
#include <system_error>

#include "store/atomic_file.h"

namespace drover {
namespace {

namespace fs = std::filesystem;

// A manifest that changes under our hands is looked at again this often.
constexpr int kFindTriesMax = 3;

std::chrono::system_clock::time_point to_time(std::int64_t nanoseconds) {
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::nanoseconds(nanoseconds)));
}

Error no_such_model(const ModelName& name) {
  return not_found(fmt::format("model '{}' not found", name.display_shortest()));
}

// What a manifest refers to, in the blobs that are manifests themselves too: newer versions of Ollama have lists of
// manifests, and what those refer to must not be deleted.
void collect_references(std::string_view text, const BlobStore& blobs, std::set<Digest>& references) {
  const std::set<Digest> digests = digests_in(text);
  references.insert(digests.begin(), digests.end());
  if (text.find("\"manifests\"") == std::string_view::npos) return;
  for (const Digest& digest : digests) {
    const Result<std::string> child = blobs.read(digest, kManifestBytesMax);
    if (!child) continue;
    const std::set<Digest> inner = digests_in(*child);
    references.insert(inner.begin(), inner.end());
  }
}

}  // namespace

ModelStore::ModelStore(const fs::path& root)
    : models_(fs::absolute(root).lexically_normal()),
      blobs_(models_ / "blobs"),
      manifests_(models_),
      loader_(blobs_),
      pins_(models_) {}

Result<FolderAccess> ModelStore::open() {
  for (const fs::path& folder : {models_ / "blobs", models_ / "manifests"}) {
    if (Result<void> made = make_folders(folder); !made) return std::move(made).error();
    AtomicFile::sweep(folder);
  }
  const FolderAccess access = pins_.open();
  blobs_.make_notes();
  return access;
}

std::vector<std::shared_ptr<const Model>> ModelStore::list() {
  std::vector<std::shared_ptr<const Model>> models;
  for (const ManifestFile& manifest : manifests_.list()) {
    Result<std::shared_ptr<const Model>> model = find(manifest.name);
    if (model.ok()) {
      models.push_back(std::move(*model));
    } else if (model.error().code != ErrorCode::kNotFound) {
      spdlog::warn("skipping {}: {}", manifest.path.string(), model.error().message);
    }
  }
  std::sort(models.begin(), models.end(), [](const auto& a, const auto& b) {
    return a->modified_at != b->modified_at ? a->modified_at > b->modified_at : a->name < b->name;
  });
  return models;
}

std::shared_ptr<const Model> ModelStore::find_cached(const std::string& key) {
  CachedModel cached;
  {
    const MutexLock lock(cache_mutex_);
    const auto entry = cache_.find(key);
    if (entry == cache_.end()) return nullptr;
    cached = entry->second;
  }
  return stamp_of(cached.manifest) == cached.stamp ? cached.model : nullptr;
}

Result<std::shared_ptr<const Model>> ModelStore::find(const ModelName& name) {
  const std::string key = name.folded();
  if (std::shared_ptr<const Model> model = find_cached(key)) return model;
  for (int attempt = 0; attempt < kFindTriesMax; ++attempt) {
    const std::optional<ManifestFile> manifest = manifests_.find(name);
    if (!manifest) break;
    const std::optional<FileStamp> stamp = stamp_of(manifest->path);
    const Result<std::string> text = manifests_.read(manifest->path);
    if (!stamp && text.ok()) continue;
    if (!text && text.error().code != ErrorCode::kNotFound) return text.error();
    if (text.ok()) {
      Result<std::shared_ptr<const Model>> model = loader_.load(manifest->name, *text, to_time(stamp->modified_ns));
      // A manifest that was replaced while its layers were read may have lost some of them to that.
      const bool unchanged = stamp_of(manifest->path) == stamp;
      if (model.ok() && unchanged) {
        const MutexLock lock(cache_mutex_);
        if (cache_.size() >= kManifestsMax) cache_.clear();
        cache_[key] = {manifest->path, *stamp, *model};
      }
      if (model.ok() || unchanged) return model;
    }
  }
  forget(name);
  return no_such_model(name);
}

bool ModelStore::exists(const ModelName& name) const {
  return manifests_.find(name).has_value();
}

Result<std::string> ModelStore::read_manifest(const ModelName& name) const {
  const std::optional<ManifestFile> manifest = manifests_.find(name);
  if (!manifest) return no_such_model(name);
  return manifests_.read(manifest->path);
}

Result<std::string> ModelStore::read_and_pin_manifest(const ModelName& name, BlobPins::Holder& pins) const {
  for (int attempt = 0; attempt < kFindTriesMax; ++attempt) {
    Result<std::string> text = read_manifest(name);
    if (!text) return text;
    for (const Digest& digest : digests_in(*text)) pins.pin(digest);
    // A removal that came between the reading and the pinning has taken the manifest first.
    if (const Result<std::string> again = read_manifest(name); again.ok() && *again == *text) return text;
  }
  return no_such_model(name);
}

Result<void> ModelStore::copy(const ModelName& source, const ModelName& destination) {
  BlobPins::Holder pins(pins_);
  const Result<std::string> text = read_and_pin_manifest(source, pins);
  if (!text) return text.error();
  if (source == destination) return {};
  return write_manifest(destination, *text, pins);
}

Result<void> ModelStore::remove(const ModelName& name) {
  const MutexLock lock(write_mutex_);
  const Result<std::string> text = read_manifest(name);
  if (Result<void> removed = manifests_.remove(name); !removed) return removed;
  forget(name);
  if (text.ok()) remove_unreferenced(*text);
  return {};
}

Result<void> ModelStore::write_manifest(const ModelName& name, const std::string& text, BlobPins::Holder& pins) {
  const MutexLock lock(write_mutex_);
  const Result<std::string> old = read_manifest(name);
  if (Result<void> written = manifests_.write(name, text); !written) return written;
  forget(name);
  for (const Digest& digest : digests_in(text)) blobs_.forget_unnamed(digest);
  pins.release();
  if (old.ok()) remove_unreferenced(*old);
  return {};
}

void ModelStore::forget(const ModelName& name) {
  const MutexLock lock(cache_mutex_);
  cache_.erase(name.folded());
}

Result<std::set<Digest>> ModelStore::referenced_blobs() const {
  Result<std::vector<std::string>> texts = manifests_.read_all();
  if (!texts) return std::move(texts).error();
  std::set<Digest> references;
  for (const std::string& text : *texts) {
    references.insert(Digest::of(text));
    collect_references(text, blobs_, references);
  }
  return references;
}

void ModelStore::remove_unreferenced(const std::string& old_manifest) {
  std::set<Digest> candidates = {Digest::of(old_manifest)};  // The manifest may be a blob itself.
  collect_references(old_manifest, blobs_, candidates);
  const BlobPins::Alone alone(pins_);
  const Result<std::set<Digest>> references = referenced_blobs();
  if (!references) {
    spdlog::warn("cannot delete blobs: {}", references.error().message);
    return;
  }
  const auto remove = [this](const Digest& digest) {
    if (Result<void> removed = blobs_.remove(digest); !removed) spdlog::warn("{}", removed.error().message);
    blobs_.forget_unnamed(digest);
  };
  for (const Digest& digest : candidates) {
    if (references->contains(digest) || !blobs_.has(digest)) continue;
    const bool removed = alone && pins_.remove_unless_needed(digest, [&] { remove(digest); });
    // Whoever needs it names it soon, or else it is pruned.
    if (!removed) blobs_.note_unnamed(digest);
  }
}

Result<std::size_t> ModelStore::prune(std::chrono::seconds age) {
  const MutexLock lock(write_mutex_);
  pins_.sweep_promises();
  const BlobPins::Alone alone(pins_);
  if (!alone) return std::size_t{0};
  const Result<std::set<Digest>> references = referenced_blobs();
  if (!references) return references.error();
  std::size_t count = 0;
  const auto now = fs::file_time_type::clock::now();
  for (const Digest& digest : blobs_.unnamed()) {
    if (references->contains(digest) || !blobs_.has(digest)) {
      blobs_.forget_unnamed(digest);
      continue;
    }
    pins_.remove_unless_needed(digest, [&] {
      std::error_code error;
      const auto touched = fs::last_write_time(blobs_.path(digest), error);
      if (error || now - touched < age || !blobs_.remove(digest).ok()) return;
      blobs_.forget_unnamed(digest);
      ++count;
    });
  }
  return count;
}

bool ModelStore::promise_blob(const Digest& digest) {
  BlobPins::Holder pins(pins_);
  pins.pin(digest);
  if (!blobs_.has(digest)) return false;
  pins_.promise(digest);
  return true;
}

Result<void> ModelStore::finish_upload(BlobWriter& writer, const Digest& digest) {
  BlobPins::Holder pins(pins_);
  pins.pin(digest);
  if (const Result<Digest> finished = writer.finish(digest); !finished) return finished.error();
  pins_.promise(digest);
  return {};
}

}  // namespace drover
