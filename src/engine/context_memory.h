// The memory of one llama.cpp context and its model's weights.
#pragma once

#include <cstdint>

struct llama_context;

namespace drover {

struct ContextMemory {
  std::uint64_t total_bytes = 0;  // weights, KV and compute buffers
  std::uint64_t kv_bytes = 0;
  std::uint64_t device_bytes = 0;  // the part that is not in host memory
};

ContextMemory context_memory(const llama_context* context);

}  // namespace drover
