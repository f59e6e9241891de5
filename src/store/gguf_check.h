// What the engine ends its process over, or never ends, instead of refusing it: found in the header of a file before a
// runner sees it. What the engine refuses by itself is left to it.
#pragma once

#include "base/result.h"
#include "store/gguf.h"

namespace drover {

// `model` is whole (see Gguf::join). Errors are kInvalidArgument and name the key and what it may be:
// "llama.block_count is 0, and must be between 1 and 512".
Result<void> check_model(const Gguf& model);

// The same for an adapter (LoRA).
Result<void> check_adapter(const Gguf& adapter);

}  // namespace drover
