// The models on disk, in Ollama's layout: manifests/<host>/<namespace>/<model>/<tag> and blobs/sha256-<hex>.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "store/blob_pins.h"
#include "store/blob_store.h"
#include "store/manifest.h"
#include "store/manifest_folder.h"
#include "store/model.h"
#include "store/model_loader.h"
#include "store/model_name.h"

namespace drover {

inline constexpr std::size_t kCreateFilesMax = 1024;

// How to make a model: from another one, or else from files that were uploaded as blobs.
struct CreateSpec {
  explicit CreateSpec(ModelName model_name) : name(std::move(model_name)) {}

  ModelName name;
  std::optional<ModelName> from;
  std::vector<std::pair<std::string, std::string>> files;     // file name to digest, both as the client sent them
  std::vector<std::pair<std::string, std::string>> adapters;  // likewise
  std::optional<std::string> template_text;                   // the caller has checked that it parses
  std::optional<std::string> system;
  nlohmann::ordered_json parameters = nlohmann::ordered_json::object();
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  std::vector<std::string> licenses;
  std::string renderer;
  std::string parser;
  std::string requires_version;
  std::string quantize;  // a type of quantizations(), in either case; "": as it is
};

// A step of making a model: "parsing GGUF", "quantizing F16 model to Q8_0", "using existing layer sha256:…", "creating
// new layer sha256:…", "writing manifest", "success".
struct CreateStatus {
  std::string status;
  std::string digest;           // of what is worked on, or what stands for it; "": the step has no measure
  std::uint64_t total = 0;      // bytes
  std::uint64_t completed = 0;  // bytes
};

// Called on the thread that called create().
using StatusCallback = std::function<void(const CreateStatus& status)>;

struct QuantizeWork {
  std::vector<std::filesystem::path> sources;  // a GGUF file, or in order all that the model is split into
  std::filesystem::path target;                // an empty file, to be filled
  std::uint32_t file_type = 0;                 // wanted, as general.file_type has it
};

// Fills `target` while create() waits for it, and tells how much of the sources' weights is done, 0 to 1. What it
// leaves behind when it fails is removed. Errors: kNoSpace, kCanceled, kInternal.
using Quantizer = std::function<Result<void>(const QuantizeWork& work, const std::function<void(double)>& progress)>;

// Any thread may call any function at any time. Everything that is written becomes visible whole or not at all, also
// if the machine stops: temporary file, fsync, rename, fsync of the folder. All functions block on the disk; find() of
// a model that has not changed since the last time costs one stat.
// Several processes may use one folder (see BlobPins).
// Errors of all that write: kNoSpace when the disk is full, kInternal for other refusals of the file system.
class ModelStore {
 public:
  // Touches nothing yet.
  explicit ModelStore(const std::filesystem::path& root);
  // Makes the folders that are missing and sweeps temporary files that dead writers left behind. To be called once,
  // before everything else.
  Result<FolderAccess> open();

  // All models, the last modified first. One that cannot be read is left out, with a line in the log.
  std::vector<std::shared_ptr<const Model>> list();

  // Errors: kNotFound (the caller words it, each route has its own text); kInvalidArgument: there is a manifest, but
  // it or what it refers to is broken, with a text that says how.
  Result<std::shared_ptr<const Model>> find(const ModelName& name);
  bool exists(const ModelName& name) const;

  const BlobStore& blobs() const { return blobs_; }

  // Errors: kNotFound: there is no such source.
  Result<void> copy(const ModelName& source, const ModelName& destination);
  // Removes the model and those of its blobs that nothing else refers to. Works for broken models too.
  // Errors: kNotFound.
  Result<void> remove(const ModelName& name);
  // `quantizer` is needed if the spec wants it used.
  // Errors: kNotFound: no such `from`; kInvalidArgument: everything that is wrong with the spec or its files.
  Result<void> create(const CreateSpec& spec, const StatusCallback& status, const Quantizer& quantizer = nullptr);
  // Makes `name` from the bytes of a GGUF file, unless it exists with just these. For the built-in model.
  Result<void> import_gguf(const ModelName& name, std::string_view bytes);

  // ---- blobs that clients send
  // True if there is such a blob. Then it stays, for kUnnamedBlobAge or until a model is created from it, whatever is
  // deleted meanwhile: the client has been told so.
  bool promise_blob(const Digest& digest);
  // BlobWriter::finish, and the same promise.
  Result<void> finish_upload(BlobWriter& writer, const Digest& digest);

  // ---- for models that come from elsewhere, and go there
  // What is pinned with it is not deleted for as long as it lives. It must not outlive the store.
  BlobPins::Holder hold_blobs() { return BlobPins::Holder(pins_); }
  // The text of the manifest that stands for `name`. Errors: kNotFound and those of ManifestFolder::read.
  Result<std::string> manifest_text(const ModelName& name) const { return read_manifest(name); }
  // As manifest_text; whatever of the manifest's blobs exists stays for as long as `pins` lives.
  Result<std::string> read_and_pin_manifest(const ModelName& name, BlobPins::Holder& pins) const;
  // Puts the manifest in place, releases `pins`, and deletes what only the manifest before it referred to. The caller
  // has seen to it that the manifest is one and that its blobs are there.
  Result<void> write_manifest(const ModelName& name, const std::string& text, BlobPins::Holder& pins);

  // Removes blobs that Drover itself has noted as unnamed, that still no manifest refers to, nobody is using for a new
  // model, and that have not been touched for `age`. Returns how many. Error: a manifest cannot be read now, and
  // nothing was removed.
  Result<std::size_t> prune(std::chrono::seconds age = kUnnamedBlobAge);

 private:
  friend class ModelCreation;
  struct CachedModel {
    std::filesystem::path manifest;
    FileStamp stamp;
    std::shared_ptr<const Model> model;
  };

  std::shared_ptr<const Model> find_cached(const std::string& key);
  Result<std::string> read_manifest(const ModelName& name) const;
  // What all manifests refer to. Error: one cannot be read now, so nothing is known to be unreferenced.
  Result<std::set<Digest>> referenced_blobs() const;
  // Deletes what only this manifest, which is no longer in place, referred to; notes what is still needed.
  void remove_unreferenced(const std::string& old_manifest) REQUIRES(write_mutex_);
  void forget(const ModelName& name) EXCLUDES(cache_mutex_);

  std::filesystem::path models_;
  BlobStore blobs_;
  ManifestFolder manifests_;
  ModelLoader loader_;
  BlobPins pins_;
  Mutex write_mutex_;  // Held while manifests change and while blobs are deleted, so neither sees the other half.
  Mutex cache_mutex_;  // Locked after write_mutex_.
  std::map<std::string, CachedModel> cache_ GUARDED_BY(cache_mutex_);  // By ModelName::folded().
};

}  // namespace drover
