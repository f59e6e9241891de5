// A loaded GGUF model: weights and vocabulary. Immutable after load(); every const function may be called from any
// thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"

struct llama_model;
struct llama_vocab;
struct llama_adapter_lora;

namespace drover {

struct ModelOptions {
  std::string path;                             // a GGUF file
  std::vector<std::string> shard_paths = {};    // the other files of a split model, in order
  std::vector<std::string> adapter_paths = {};  // GGUF LoRA files
  int gpu_layers = -1;                          // -1: as many as fit
  int main_gpu = 0;
  bool use_mmap = true;
  bool vocabulary_only = false;  // without weights: it cannot compute, and needs no variant of the engine
  bool packed_weights = true;    // weights may be stored in layouts for the fastest kernels
  std::function<bool(float)> on_progress = {};  // 0 to 1; false stops the load
};

// The tokens of a model for filling in the middle; -1 if it has none.
struct InfillTokens {
  Token prefix = -1;
  Token suffix = -1;
  Token middle = -1;
  bool complete() const { return prefix >= 0 && suffix >= 0 && middle >= 0; }
};

class LlamaModel {
 public:
  // A variant of the engine must be selected (engine/engine_library.h), unless `vocabulary_only`. Error: kInternal with
  // the reason that llama.cpp logged.
  static Result<std::unique_ptr<LlamaModel>> load(const ModelOptions& options);
  ~LlamaModel();

  // Token ids of `text`. `special`: adds the vocabulary's start and end tokens (BOS…). Special tokens that are spelled
  // out in the text are recognized.
  std::vector<Token> tokenize(std::string_view text, bool special) const;
  // Appends a token's bytes to `out`; they need not be whole characters. Control tokens give nothing unless `control`.
  void append_piece(Token token, bool control, std::string& out) const;
  bool ends_generation(Token token) const;

  int vocabulary_size() const { return vocabulary_size_; }
  int trained_context() const;  // tokens
  std::uint64_t weight_bytes() const;
  const InfillTokens& infill() const { return infill_; }
  bool is_recurrent() const;  // at least in part: each sequence has a state, instead of cells or in addition
  bool can_generate() const;  // false for encoders such as BERT
  llama_model* get() const { return model_; }
  const llama_vocab* vocabulary() const { return vocabulary_; }
  std::span<llama_adapter_lora* const> adapters() const { return adapters_; }

 private:
  LlamaModel() = default;
  llama_model* model_ = nullptr;
  const llama_vocab* vocabulary_ = nullptr;
  std::vector<llama_adapter_lora*> adapters_;
  InfillTokens infill_;
  int vocabulary_size_ = 0;
};

}  // namespace drover
