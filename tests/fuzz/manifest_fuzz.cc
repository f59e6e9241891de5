#include "fuzz.h"
#include "store/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = text_of(data, size);
  drover::digests_in(text);
  const auto parsed = drover::Manifest::parse(text);
  if (!parsed) return 0;
  parsed->total_bytes();
  const auto again = drover::Manifest::parse(parsed->to_json());
  expect(again.ok(), "what is written can be read");
  expect(again->layers == parsed->layers, "and says the same");
  return 0;
}
