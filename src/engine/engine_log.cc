#include "engine/engine_log.h"

#include <ggml.h>
#include <llama.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <string_view>
#include <utility>

#include "base/mutex.h"
#include "common.h"
#include "log.h"

namespace drover {
namespace {

std::atomic<bool> errors_expected{false};
Mutex last_error_mutex;
std::string last_error GUARDED_BY(last_error_mutex);

void on_llama_log(ggml_log_level level, const char* text, void*) {
  std::string_view line = text;
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.remove_suffix(1);
  if (line.empty() || line == ".") return;
  switch (level) {
    case GGML_LOG_LEVEL_ERROR: {
      const MutexLock lock(last_error_mutex);
      // The last line of a failed load gives no reason.
      if (last_error.empty() || !line.ends_with("failed to load model")) last_error = line;
      spdlog::log(errors_expected ? spdlog::level::debug : spdlog::level::err, "llama.cpp: {}", line);
      break;
    }
    case GGML_LOG_LEVEL_WARN:
      spdlog::debug("llama.cpp: {}", line);
      break;
    default:
      spdlog::trace("llama.cpp: {}", line);
  }
}

}  // namespace

void set_up_engine_log() {
  llama_log_set(on_llama_log, nullptr);
  common_log_set_verbosity_thold(-1);  // llama-common's own log does not help an operator
}

void expect_engine_errors(bool expected) {
  errors_expected = expected;
}

std::string take_last_engine_error() {
  const MutexLock lock(last_error_mutex);
  return std::exchange(last_error, {});
}

}  // namespace drover
