// The engine as a library of this process: whether it is the release that this program was built for, and which of its
// variants computes. A variant is the engine's kernels for one kind of processor. The prebuilt engine has many; an
// engine that was built from source is part of the program and has one, "native".
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drover {

struct CpuVariant {
  std::string name;  // as in libggml-cpu-NAME.so
  std::string path;  // empty: it is part of the program
  int score = 0;     // the engine's own: the more of the processor it uses, the higher
};

struct EngineReport {
  std::string release;                  // "llama.cpp v0.5.0 (prebuilt)"
  std::string processor;                // "AMD EPYC"
  int threads = 0;                      // of a step, if nothing else is asked for
  std::vector<CpuVariant> variants;     // that this processor can run; the first is taken
  std::vector<std::string> unloadable;  // the others that could not even be loaded, each with its reason

  // "processor: AMD EPYC, 2 threads; engine llama.cpp v0.5.0 (prebuilt), variant zen4"
  std::string line() const;
};

// Checks the engine's libraries against those that this program was built for, and finds the variants in the folder
// that the engine itself was loaded from, nowhere else. `wanted`: the value of DROVER_CPU_VARIANT; empty or "auto" for
// the fastest. Errors: kInternal if the libraries are of another release; kInvalidArgument if there is no such variant,
// or this processor cannot run it or any.
Result<EngineReport> inspect_engine(std::string_view wanted);

// Makes a variant the one that this process computes with, in place of any other. Only while no model is loaded.
// Error: kInternal with the engine's reason.
Result<void> use_variant(const CpuVariant& variant);

// For programs that leave the choice to the engine: its log, and the variant that DROVER_CPU_VARIANT names or the
// fastest. Once per process; a second call does nothing.
Result<void> initialize_engine();

// Where the engine's libraries are, which are loaded by their names; empty: they are parts of the program.
std::filesystem::path engine_folder();
// Whether there is a library among them that computes on devices.
bool engine_uses_devices();

// The value of DROVER_CPU_VARIANT.
std::string wanted_variant();

}  // namespace drover
