// JSON of strangers: what comes out is within the bounds, and is read again as it is printed.
#include "fuzz.h"
#include "store/json_reader.h"

namespace {

using Json = nlohmann::ordered_json;

void measure(const Json& json, std::size_t depth, std::size_t& values, const drover::JsonBounds& bounds) {
  ++values;
  if (!json.is_structured()) return;
  expect(depth < bounds.depth_max, "it is no deeper than may be");
  expect(!json.is_object() || json.size() <= bounds.keys_max, "no object has more keys than may be");
  for (const Json& part : json) measure(part, depth + 1, values, bounds);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr drover::JsonBounds kBounds{.depth_max = 16, .keys_max = 32, .values_max = 256};
  Json json;
  if (drover::JsonReader(kBounds).read(text_of(data, size), json)) return 0;
  std::size_t values = 0;
  measure(json, 0, values, kBounds);
  expect(values <= kBounds.values_max, "there are no more values than may be");
  const std::string printed = json.dump();  // throws where a string is no UTF-8
  Json again;
  expect(!drover::JsonReader(kBounds).read(printed, again), "what is printed can be read");
  expect(again.dump() == printed, "and says the same");
  return 0;
}
