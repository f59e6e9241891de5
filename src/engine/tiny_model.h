// Models of a few thousand random weights, for tests: one for each kind of memory that llama.cpp has besides plain
// attention (which cria has). Their output has no meaning, but it depends on every cell of a sequence.
#pragma once

#include <memory>
#include <string>

#include "engine/llama_model.h"

namespace drover {

enum class TinyKind {
  kSlidingWindow,  // gemma3: half of the layers see 16 tokens back
  kRecurrent,      // mamba
  kRecurrent2,     // mamba2
  kHybrid,         // jamba: a mamba layer and an attention layer
  kConvolution,    // lfm2: a short convolution and an attention layer
};

// Writes the model as a GGUF file and loads it. Its vocabulary has 256 tokens and no text.
Result<std::unique_ptr<LlamaModel>> make_tiny_model(TinyKind kind);

}  // namespace drover
