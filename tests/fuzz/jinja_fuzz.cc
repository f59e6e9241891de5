#include "fuzz.h"
#include "store/jinja_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  drover::jinja_problem(text_of(data, size));
  return 0;
}
