// Checks that the engine's kernels compute a model correctly on this processor: it compares small products of the
// model's own weights, one for each type in its files, with plain code. A hypervisor may announce instructions that do
// not work, and a compiler may have broken a kernel. Then the model is computed in a slower way, and the log says so.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine_library.h"

namespace drover {

// How a model may be computed.
struct Kernels {
  CpuVariant variant;
  bool packed = true;  // weights may be stored in the layouts of the variant's fastest kernels
};

// Loads the first variant whose kernels are correct for these GGUF files, with packed layouts if those are correct too.
// The products are computed in a child process, so a crash there costs a line in the log. Only while no model is loaded
// and no other thread runs. A file that cannot be read is not checked: loading it will report why. Error: kInternal if
// no variant is correct.
Result<Kernels> choose_kernels(const std::vector<CpuVariant>& variants, const std::vector<std::string>& paths);

// The fault of the variant that this process computes with; empty: none. Computed in this process, for tests.
std::string wrong_kernel(const std::vector<std::string>& paths, bool packed);

}  // namespace drover
