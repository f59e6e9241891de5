// Measures the size of a struct that a library's function returns, so that a program detects a different layout before
// it passes such a struct.
#pragma once

#include <array>
#include <cstddef>
#include <new>

namespace drover {

inline constexpr std::size_t kStructRoom = 1024;

// As large as the struct, with room after it for a larger one.
template <typename T>
struct alignas(16) RoomyStruct {
  std::array<unsigned char, sizeof(T) + kStructRoom> bytes;
};

// The size in bytes, rounded up to 8, found from the bytes that the function writes. Such structs are returned through
// a pointer to the caller's memory (System V x86-64, AAPCS64). The function fills its whole struct, except padding,
// with the same values each time.
template <typename T>
std::size_t struct_size_in_library(T (*function)()) {
  static_assert(sizeof(T) > 16, "a smaller struct is returned in registers");
  const auto call = reinterpret_cast<RoomyStruct<T> (*)()>(reinterpret_cast<void*>(function));
  std::array<RoomyStruct<T>, 2> results;
  for (std::size_t i = 0; i < results.size(); ++i) {
    results[i].bytes.fill(i == 0 ? 0x00 : 0xFF);
    asm volatile("" : : "r"(&results[i]) : "memory");  // the pattern is there when the library writes over it
    new (&results[i]) RoomyStruct<T>(call());
  }
  std::size_t end = 0;
  for (std::size_t i = 0; i < results[0].bytes.size(); ++i) {
    if (results[0].bytes[i] == results[1].bytes[i]) end = i + 1;
  }
  return (end + 7) / 8 * 8;
}

}  // namespace drover
