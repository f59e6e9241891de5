#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "fuzz.h"
#include "store/gguf.h"
#include "store/gguf_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int file = ::memfd_create("gguf", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  expect(::ftruncate(file, 0) == 0, "the file can be emptied");
  expect(::pwrite(file, data, size, 0) == static_cast<ssize_t>(size), "and filled");
  for (const auto arrays : {drover::GgufArrays::kSmall, drover::GgufArrays::kAll}) {
    const auto gguf = drover::Gguf::read(path, arrays);
    if (!gguf) continue;
    expect(gguf->tensor_bytes() <= size, "tensors lie within the file");
    (void)drover::check_model(*gguf);
    (void)drover::check_adapter(*gguf);
    gguf->model_info();
    gguf->architecture();
    gguf->parameter_size();
    gguf->quantization();
    gguf->chat_template();
    gguf->is_embedding_model();
    gguf->template_has_tools();
  }
  return 0;
}
