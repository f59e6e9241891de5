// The numbers that GGUF files use for tensor types and file types, by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
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

// The file type that a model can be quantized to by this name, in either case: "q4_K_M", "Q4_K" (the same), "BF16".
// nullopt: there is none, or it needs an importance matrix to be of any use.
std::optional<std::uint32_t> find_quantization(std::string_view name);
// All names that it finds, "F32, F16, Q4_0, …".
std::string quantization_names();

}  // namespace drover
