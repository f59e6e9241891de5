// The target of an HTTP request, and what else is read out of short texts: durations and settings.
#include "base/go_duration.h"
#include "base/settings.h"
#include "fuzz.h"
#include "http/request_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = text_of(data, size);
  if (const auto target = drover::http::parse_request_target(text); target.ok()) {
    expect(target->path == "*" || target->path.starts_with('/'), "a path starts with a slash");
  }
  (void)drover::parse_seconds_or_go_duration(text);
  (void)drover::parse_host(text);
  return 0;
}
