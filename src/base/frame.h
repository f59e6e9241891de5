// How messages between the front and a runner are cut: a 4-byte little-endian length, then as many bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace drover {

inline constexpr std::size_t kFrameHeaderBytes = 4;
// A frame that claims to be longer is a broken peer. Prompts and images are the largest things that travel.
inline constexpr std::size_t kFrameBytesMax = 512u << 20;

inline std::array<char, kFrameHeaderBytes> frame_header(std::size_t size) {
  return {static_cast<char>(size & 0xff), static_cast<char>(size >> 8 & 0xff), static_cast<char>(size >> 16 & 0xff),
          static_cast<char>(size >> 24 & 0xff)};
}

inline std::size_t frame_size(const std::array<char, kFrameHeaderBytes>& header) {
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(header[i])); };
  return byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
}

}  // namespace drover
