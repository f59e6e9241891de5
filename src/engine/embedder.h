// Computes embeddings: a llama.cpp context that pools a model's outputs for each input into one vector. Works for
// encoders (such as BERT) and for models that can generate.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/compute_threads.h"
#include "engine/engine.h"
#include "engine/llama_model.h"

struct llama_context;

namespace drover {

struct EmbedderOptions {
  int context_length = 0;    // most tokens of one input
  int batch_tokens = 512;    // most tokens of several inputs in one batch
  int threads = 0;           // 0: the physical cores
  int flash_attention = -1;  // -1: the engine decides, 0: off, 1: on
};

class Embedder {
 public:
  // Creates the context and computes one token, so that the first request finds a warm model. Errors: kInvalidArgument
  // if the model cannot embed text, kNoSpace if memory is short.
  static Result<std::unique_ptr<Embedder>> create(const LlamaModel& model, const EmbedderOptions& options);
  ~Embedder();

  int context_length() const { return context_length_; }  // may be less than requested
  int batch_tokens_max() const { return batch_tokens_; }
  int batch_inputs_max() const { return batch_inputs_; }
  int dimensions() const { return dimensions_; }   // of every vector
  int threads() const { return threads_->max(); }  // given to it

  void share_processors(int runners) { threads_->share_processors(runners); }  // see ComputeThreads; any thread

  // Cuts the end off until `tokens_max` tokens are left. An end token of the vocabulary stays at the end. Any thread.
  void truncate(std::vector<Token>& tokens, int tokens_max) const;

  using Input = std::span<const Token>;
  // One vector for each input, of dimensions() floats, not normalized. No input is empty. There are at most
  // batch_inputs_max() inputs with batch_tokens_max() tokens in all, or a single one of up to context_length() tokens.
  // One thread. Error: kInternal; the next call starts from a clean state.
  Result<std::vector<std::vector<float>>> compute(std::span<const Input> inputs);

  // Grows while the embedder computes. Any thread.
  std::uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }

  std::uint64_t memory_bytes() const;
  std::uint64_t device_bytes() const;  // the part that is not in host memory

 private:
  Embedder() = default;
  bool decode(std::span<const Row> rows);
  static bool on_node_computed(void* embedder);

  const LlamaModel* model_ = nullptr;
  llama_context* context_ = nullptr;
  int context_length_ = 0;
  int batch_tokens_ = 0;
  int batch_inputs_ = 0;
  int step_tokens_ = 0;  // a longer input is computed in parts
  int dimensions_ = 0;
  std::unique_ptr<ComputeThreads> threads_;
  std::atomic<std::uint64_t> progress_{0};
};

}  // namespace drover
