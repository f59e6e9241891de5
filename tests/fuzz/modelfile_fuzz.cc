#include <algorithm>

#include "fuzz.h"
#include "store/modelfile.h"

namespace {

// The language has no way to write every text: a quote within one ends it, and a value on a line of its own is trimmed.
bool is_plain(const drover::ModelfileCommand& command) {
  return !command.arguments.empty() && command.arguments.find_first_of("\"\r\n\t ") == std::string::npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parsed = drover::Modelfile::parse(text_of(data, size));
  if (!parsed) return 0;
  const auto again = drover::Modelfile::parse(parsed->to_string());
  if (!std::all_of(parsed->commands.begin(), parsed->commands.end(), is_plain)) return 0;
  expect(again.ok(), "what is written can be read");
  expect(again->commands == parsed->commands, "and says the same");
  return 0;
}
