// Resolves a manifest to a Model: reads and checks every layer.
#pragma once

#include <map>
#include <memory>
#include <string_view>

#include "base/mutex.h"
#include "base/result.h"
#include "store/blob_store.h"
#include "store/manifest.h"
#include "store/model.h"

namespace drover {

inline constexpr std::uint64_t kTextLayerBytesMax = 16u << 20;  // template, system, license, params, messages: each

// Any thread may call any function at any time.
class ModelLoader {
 public:
  explicit ModelLoader(BlobStore blobs) : blobs_(std::move(blobs)) {}

  // `text` is the manifest file's. Error: kInvalidArgument, with a text that says what is broken.
  Result<std::shared_ptr<const Model>> load(const ModelName& name, std::string_view text,
                                            std::chrono::system_clock::time_point modified_at);

  // The header of a GGUF blob; shared with all models that use it. Errors: as Gguf::read.
  Result<std::shared_ptr<const Gguf>> read_gguf(const Digest& digest);

 private:
  Result<void> check_size(const Layer& layer) const;
  Result<void> load_weights(const Manifest& manifest, Model& model);
  Result<void> load_layer(const Layer& layer, Model& model);
  Result<void> find_capabilities(const Manifest& manifest, Model& model);

  BlobStore blobs_;
  Mutex mutex_;
  std::map<Digest, std::weak_ptr<const Gguf>> ggufs_ GUARDED_BY(mutex_);
};

// Checks what a messages layer, or a request to make one, says. Errors: kInvalidArgument.
Result<nlohmann::ordered_json> check_messages(const nlohmann::ordered_json& messages);

}  // namespace drover
