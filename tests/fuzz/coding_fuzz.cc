// Compressed bodies: no more comes out than may.
#include "fuzz.h"
#include "http/content_coding.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using drover::http::ContentCoding;
  constexpr std::size_t kBytesMax = 100'000;
  const std::string_view body = text_of(data, size);
  drover::http::parse_content_coding(body);
  for (const ContentCoding coding :
       {ContentCoding::kNone, ContentCoding::kGzip, ContentCoding::kDeflate, ContentCoding::kZstd}) {
    const auto decoded = drover::http::decode_content(coding, body, kBytesMax);
    expect(!decoded || decoded->size() <= kBytesMax, "what comes out has a bound");
  }
  return 0;
}
