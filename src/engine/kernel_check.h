// Whether this processor computes right what a model needs: small products of the model's own weights, one for each
// type in its files, by the engine's kernels and by plain code. A hypervisor may announce instructions that it cannot
// do, a compiler may have broken a kernel: then the model is computed in a slower way, and the log says so.
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

// Loads the first of the variants whose kernels are right for these GGUF files, with packed layouts if those are right
// too. The products are computed in a child process, so whatever happens there costs a line in the log. Only while no
// model is loaded and no other thread runs. A file that cannot be read is not checked: loading it will tell why.
// Error: kInternal if no variant is right.
Result<Kernels> choose_kernels(const std::vector<CpuVariant>& variants, const std::vector<std::string>& paths);

// What is wrong with the variant that this process computes with; empty: nothing. In this process, for tests.
std::string wrong_kernel(const std::vector<std::string>& paths, bool packed);

}  // namespace drover
