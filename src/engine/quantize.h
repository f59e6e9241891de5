// `drover quantize`: writes a quantized copy of a GGUF model, in a process of its own. llama.cpp aborts on an
// unexpected model and uses all cores for minutes; neither must happen to the server.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace drover {

struct QuantizeArguments {
  std::vector<std::string> sources;  // a GGUF file, or the files of a split model, named as llama.cpp names them
  std::string target;
  std::uint32_t file_type = 0;  // as general.file_type
};

// Runs the whole process: reports on standard output, one line at a time, and returns the exit code.
//   progress <0 to 1>   the share of the weights that is done
//   full                 the disk is (the last line)
//   failed <reason>      the last line, too
// The process ends with its parent.
int run_quantize(const QuantizeArguments& arguments);

}  // namespace drover
