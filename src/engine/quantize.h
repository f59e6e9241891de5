// `drover quantize`: writes a quantized copy of a GGUF model, in a process of its own. llama.cpp ends its process where
// a model is not as it expects, and takes all cores for minutes: neither is to happen to the server.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace drover {

struct QuantizeArguments {
  std::vector<std::string> sources;  // a GGUF file; or the first one of a split model, named as llama.cpp splits them
  std::string target;
  std::uint32_t file_type = 0;  // as general.file_type
};

// The whole life of the process: tells on standard output how it goes, a line at a time, and returns the exit code.
//   progress <0 to 1>   the share of the weights that is done
//   full                 the disk is (the last line)
//   failed <reason>      the last line, too
// The process ends with whoever started it.
int run_quantize(const QuantizeArguments& arguments);

}  // namespace drover
