#include "engine/context_memory.h"

#include <ggml-backend.h>
#include <llama-ext.h>
#include <llama.h>

namespace drover {

ContextMemory context_memory(const llama_context* context) {
  ContextMemory memory;
  for (const auto& [type, part] : llama_get_memory_breakdown(context)) {
    memory.total_bytes += part.total();
    memory.kv_bytes += part.context;
    if (ggml_backend_buft_is_host(type)) continue;
    const ggml_backend_dev_t device = ggml_backend_buft_get_device(type);
    if (device != nullptr && ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_CPU) {
      memory.device_bytes += part.total();
    }
  }
  return memory;
}

}  // namespace drover
