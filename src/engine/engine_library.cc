#include "engine/engine_library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ggml-backend-impl.h>
#include <ggml-backend.h>
#include <ggml.h>
#include <llama.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <system_error>
#include <utility>

#include "engine/compute_threads.h"
#include "engine/engine_log.h"
#include "engine/struct_size.h"

namespace drover {
namespace {

#ifdef DROVER_ENGINE_PREBUILT
constexpr bool kPrebuilt = true;
#else
constexpr bool kPrebuilt = false;
#endif

constexpr std::string_view kPrefix = "libggml-cpu-";
constexpr std::string_view kSuffix = ".so";

// ---- the release that this program was built for

// The difference from the release that this program was built for; empty: none.
std::string difference() {
  const std::string_view llama = llama_version();
  const std::string_view ggml = ggml_version();
  if (!llama.starts_with(DROVER_LLAMA_VERSION)) {
    return fmt::format("it is llama.cpp {} and not " DROVER_LLAMA_VERSION, llama);
  }
  if (ggml != DROVER_GGML_VERSION) return fmt::format("its ggml is {} and not " DROVER_GGML_VERSION, ggml);
  if (!kPrebuilt) return {};  // the compiler checks the sizes
  const auto differs = [](std::size_t theirs, std::size_t ours) { return theirs != (ours + 7) / 8 * 8; };
  if (differs(struct_size_in_library(llama_model_default_params), sizeof(llama_model_params))) {
    return "its llama_model_params has another size";
  }
  if (differs(struct_size_in_library(llama_context_default_params), sizeof(llama_context_params))) {
    return "its llama_context_params has another size";
  }
  if (differs(struct_size_in_library(llama_model_quantize_default_params), sizeof(llama_model_quantize_params))) {
    return "its llama_model_quantize_params has another size";
  }
  return {};
}

// ---- variants

// The variant's score for this processor; 0 if it cannot run here. Error: why it cannot be loaded.
Result<int> score_of(const std::filesystem::path& path) {
  const std::unique_ptr<void, int (*)(void*)> library(::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL),
                                                      [](void* handle) { return handle ? ::dlclose(handle) : 0; });
  if (library == nullptr) return internal(::dlerror());
  const auto score = reinterpret_cast<ggml_backend_score_t>(::dlsym(library.get(), "ggml_backend_score"));
  // Builds for the oldest processors have no score.
  return score == nullptr ? 1 : score();
}

struct Found {
  std::vector<CpuVariant> usable;
  std::vector<std::string> names;  // of all variants
  std::vector<std::string> unloadable;
};

Found find_variants() {
  Found found;
  if (!kPrebuilt) {
    found.usable.push_back({"native", {}, 1});
    found.names.emplace_back("native");
    return found;
  }
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(engine_folder(), failed)) {
    const std::string file = entry.path().filename().string();
    if (!file.starts_with(kPrefix) || !file.ends_with(kSuffix)) continue;
    std::string name = file.substr(kPrefix.size(), file.size() - kPrefix.size() - kSuffix.size());
    found.names.push_back(name);
    const Result<int> score = score_of(entry.path());
    if (!score) {
      found.unloadable.push_back(name + ": " + score.error().message);
    } else if (*score > 0) {
      found.usable.push_back({std::move(name), entry.path().string(), *score});
    }
  }
  // Equal scores occur (x64, sse42). The name decides then, so every start selects the same variant.
  std::sort(found.usable.begin(), found.usable.end(), [](const CpuVariant& a, const CpuVariant& b) {
    return std::pair(-a.score, a.name) < std::pair(-b.score, b.name);
  });
  std::sort(found.names.begin(), found.names.end());
  return found;
}

std::vector<std::string> names_of(const std::vector<CpuVariant>& variants) {
  std::vector<std::string> names;
  for (const CpuVariant& variant : variants) names.push_back(variant.name);
  return names;
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace

std::filesystem::path engine_folder() {
  if (!kPrebuilt) return {};
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(&ggml_backend_load), &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code ignored;
  return std::filesystem::canonical(info.dli_fname, ignored).parent_path();
}

bool engine_uses_devices() {
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(engine_folder(), failed)) {
    const std::string file = entry.path().filename().string();
    if (file.starts_with("libggml-") && !file.starts_with(kPrefix) && file != "libggml-base.so") return true;
  }
  return false;
}

std::string EngineReport::line() const {
  return fmt::format("processor: {}, {} thread{}; engine {}, variant {}", processor, threads, threads == 1 ? "" : "s",
                     release, variants.front().name);
}

Result<EngineReport> inspect_engine(std::string_view wanted) {
  if (const std::string what = difference(); !what.empty()) {
    const std::string folder = engine_folder().string();
    return internal(
        fmt::format("the engine in {} does not fit this program: {}. Install both from one package, or "
                    "build Drover anew",
                    folder, what));
  }
  EngineReport report;
  report.release = fmt::format("llama.cpp {} ({})", DROVER_ENGINE_VERSION, kPrebuilt ? "prebuilt" : "source");
  report.processor = processor_name();
  report.threads = thread_count(0);
  Found found = find_variants();
  report.variants = std::move(found.usable);
  report.unloadable = std::move(found.unloadable);
  if (report.variants.empty()) {
    return invalid(fmt::format("none of the engine's variants can be used on this processor ({}); {} holds: {}{}{}",
                               report.processor, engine_folder().string(), fmt::join(found.names, ", "),
                               report.unloadable.empty() ? "" : "; ", fmt::join(report.unloadable, "; ")));
  }
  if (wanted.empty() || wanted == "auto") return report;
  const auto named = [&](const CpuVariant& variant) { return variant.name == wanted; };
  const auto first = std::find_if(report.variants.begin(), report.variants.end(), named);
  if (first == report.variants.end()) {
    const bool known = std::find(found.names.begin(), found.names.end(), wanted) != found.names.end();
    return invalid(fmt::format("DROVER_CPU_VARIANT is \"{}\": {}. This processor can run: {}", wanted,
                               known ? "this processor cannot run that variant" : "there is no such variant",
                               fmt::join(names_of(report.variants), ", ")));
  }
  std::rotate(report.variants.begin(), first, first + 1);
  return report;
}

Result<void> use_variant(const CpuVariant& variant) {
  if (variant.path.empty()) return {};
  while (ggml_backend_reg_t old = ggml_backend_reg_by_name("CPU")) ggml_backend_unload(old);
  take_last_engine_error();
  if (ggml_backend_load(variant.path.c_str()) == nullptr) {
    const std::string reason = take_last_engine_error();
    return internal(fmt::format("unable to load {}: {}", variant.path, reason.empty() ? "no reason given" : reason));
  }
  return {};
}

Result<void> initialize_engine() {
  static const Result<void> done = []() -> Result<void> {
    set_up_engine_log();
    const auto report = inspect_engine(wanted_variant());
    if (!report) return report.error();
    if (auto used = use_variant(report->variants.front()); !used) return used;
    llama_backend_init();
    return {};
  }();
  return done;
}

std::string wanted_variant() {
  const char* value = std::getenv("DROVER_CPU_VARIANT");
  return value == nullptr ? "" : value;
}

}  // namespace drover
