// Quantizes models in child processes, `drover quantize`: see engine/quantize.h for what they tell.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace drover {

class QuantizerProcess {
 public:
  // `executable` is this program.
  explicit QuantizerProcess(std::string executable) : executable_(std::move(executable)) {}

  // Writes `target` from `sources`, a GGUF file or in order all that a model is split into, and returns when that is
  // done. `progress` is told the share that is done, 0 to 1. Ends early when `canceled` becomes true, which is looked
  // at several times a second. Any thread, several at once. Errors: kNoSpace, kCanceled, kInternal.
  Result<void> run(const std::vector<std::filesystem::path>& sources, const std::filesystem::path& target,
                   std::uint32_t file_type, const std::function<void(double)>& progress,
                   const std::atomic<bool>& canceled);

  // Ends all that run, and those that begin later, as if they were canceled.
  void stop() { stopped_ = true; }

 private:
  const std::string executable_;
  std::atomic<bool> stopped_{false};
};

}  // namespace drover
