// The engine's libraries in this process: checks that they are the release that this program was built for, and selects
// the variant that computes. A variant is the engine's kernels for one kind of processor. The prebuilt engine has many.
// An engine that was built from source is part of the program and has one, "native".
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drover {

struct CpuVariant {
  std::string name;  // as in libggml-cpu-NAME.so
  std::string path;  // empty: part of the program
  int score = 0;     // the engine's own score; higher if it uses more of the processor
};

struct EngineReport {
  std::string release;                  // "llama.cpp v0.5.0 (prebuilt)"
  std::string processor;                // "AMD EPYC"
  int threads = 0;                      // default threads of a step
  std::vector<CpuVariant> variants;     // those that this processor can run; the first one is used
  std::vector<std::string> unloadable;  // variants that could not be loaded, each with the reason

  // "processor: AMD EPYC, 2 threads; engine llama.cpp v0.5.0 (prebuilt), variant zen4"
  std::string line() const;
};

// Checks that the engine's libraries are those that this program was built for, and finds the variants. It looks only
// in the folder that the engine was loaded from. `wanted`: the value of DROVER_CPU_VARIANT; empty or "auto" for the
// fastest. Errors: kInternal if the libraries are from another release; kInvalidArgument if there is no such variant,
// or this processor cannot run it, or cannot run any.
Result<EngineReport> inspect_engine(std::string_view wanted);

// Selects the variant that this process computes with. Only while no model is loaded. Error: kInternal with the
// engine's reason.
Result<void> use_variant(const CpuVariant& variant);

// Sets up the log, and the variant that DROVER_CPU_VARIANT names, or else the fastest. For programs that leave the
// choice to the engine. A second call does nothing.
Result<void> initialize_engine();

// The folder of the engine's libraries; empty: they are part of the program.
std::filesystem::path engine_folder();
// Whether one of the libraries computes on devices.
bool engine_uses_devices();

// The value of DROVER_CPU_VARIANT.
std::string wanted_variant();

}  // namespace drover
