// The numbers that GGUF files use for tensor types and file types, by name.
#pragma once

#include <cstdint>
#include <string_view>

namespace drover {

// How a tensor type lays out its elements: `block_elements` of them take `block_bytes`.
struct GgufTensorType {
  std::uint32_t id;
  std::string_view name;  // as Ollama prints it
  std::uint32_t block_elements;
  std::uint32_t block_bytes;
};

// nullptr: there is no such type, or no longer.
const GgufTensorType* find_gguf_tensor_type(std::uint32_t id);

// The quantization that a whole file is said to have (general.file_type): "F16", "Q4_K_M" …; "unknown".
std::string_view gguf_file_type_name(std::uint64_t file_type);

}  // namespace drover
