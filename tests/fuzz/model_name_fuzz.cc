#include <algorithm>

#include "fuzz.h"
#include "store/model_name.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto name = drover::ModelName::parse(text_of(data, size));
  if (!name) return 0;
  const std::filesystem::path path = name->manifest_path();
  expect(path.is_relative() && std::distance(path.begin(), path.end()) == 4, "a name is a path of four parts");
  expect(std::none_of(path.begin(), path.end(), [](const auto& part) { return part.native().starts_with('.'); }),
         "that stays below its folder");
  const auto again = drover::ModelName::parse(name->full());
  expect(again.ok() && *again == *name, "a full name is the same name");
  const auto shortest = drover::ModelName::parse(name->display_shortest());
  expect(shortest.ok() && *shortest == *name, "and so is the shortest one");
  return 0;
}
