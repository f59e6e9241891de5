// What the fuzz targets share. Each target is a program of its own: libFuzzer's main() calls LLVMFuzzerTestOneInput
// with bytes of its making, and a sanitizer's report, an escaped exception or a failed expect() ends the run and keeps
// them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

inline void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}
