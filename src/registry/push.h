// One push: a model of the store, to a registry. What the registry has already is not sent.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "registry/registry.h"
#include "registry/session.h"
#include "store/model_store.h"

namespace drover::registry {

inline constexpr std::uint64_t kUploadChunkBytes = 64u << 20;
inline constexpr int kUploadAttemptsMax = 3;  // of one blob
// A registry reads a blob again before it says that it has it, and is silent meanwhile.
inline constexpr std::chrono::seconds kCommitTimeout{600};

// Used by one thread, that of its job.
class Push {
 public:
  using Report = std::function<void(const Progress&)>;
  // All must outlive the push.
  Push(ModelStore& store, Session& session, ModelName name, const Report& report);

  // Errors: see Session; kNotFound: there is no such model, or a blob of it is missing.
  Result<void> run();

 private:
  Result<void> push_blob(const Layer& layer);
  Result<bool> is_there(const Layer& layer);
  Result<void> upload(const Layer& layer, int file);
  // Where the registry wants the next part: of itself, and of nobody else.
  Result<std::string> next_place(const Answer& answer) const;
  Result<void> push_manifest(const std::string& text);
  void report_layer(const Layer& layer, std::uint64_t completed);

  ModelStore& store_;
  Session& session_;
  const ModelName name_;
  const Report& report_;
  BlobPins::Holder pins_;
  std::uint64_t reported_ = 0;
};

}  // namespace drover::registry
