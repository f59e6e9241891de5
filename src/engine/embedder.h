// Vectors instead of text: a llama.cpp context that pools what a model makes of each input into one vector. Works for
// encoders (BERT and the like) and for models that can generate.
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
  int context_length = 0;    // tokens that one input may have
  int batch_tokens = 512;    // tokens of several inputs that are computed together
  int threads = 0;           // 0: the physical cores
  int flash_attention = -1;  // -1: the engine decides, 0: off, 1: on
};

class Embedder {
 public:
  // Creates the context and computes one token, so that the first request meets a warm model. Errors:
  // kInvalidArgument if the model makes no vectors of texts, kNoSpace if the memory does not suffice.
  static Result<std::unique_ptr<Embedder>> create(const LlamaModel& model, const EmbedderOptions& options);
  ~Embedder();

  int context_length() const { return context_length_; }  // may be less than was asked for
  int batch_tokens_max() const { return batch_tokens_; }
  int batch_inputs_max() const { return batch_inputs_; }
  int dimensions() const { return dimensions_; }   // of every vector
  int threads() const { return threads_->max(); }  // that it was given

  void share_processors(int runners) { threads_->share_processors(runners); }  // see ComputeThreads; any thread

  // Cuts the end off until `tokens_max` are left; a token that the vocabulary wants at the end stays there. Any thread.
  void truncate(std::vector<Token>& tokens, int tokens_max) const;

  using Input = std::span<const Token>;
  // One vector for each input, of dimensions() floats, not normalised. The inputs, none of them empty, are at most
  // batch_inputs_max() with at most batch_tokens_max() tokens, or a single one of up to context_length().
  // One thread. Error: kInternal; the next call starts afresh.
  Result<std::vector<std::vector<float>>> compute(std::span<const Input> inputs);

  // Grows while something is computed. Any thread.
  std::uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }

  std::uint64_t memory_bytes() const;
  std::uint64_t device_bytes() const;  // the part of it that is not in host memory

 private:
  Embedder() = default;
  bool decode(std::span<const Row> rows);
  static bool on_node_computed(void* embedder);

  const LlamaModel* model_ = nullptr;
  llama_context* context_ = nullptr;
  int context_length_ = 0;
  int batch_tokens_ = 0;
  int batch_inputs_ = 0;
  int step_tokens_ = 0;  // an input with more of them is computed in pieces
  int dimensions_ = 0;
  std::unique_ptr<ComputeThreads> threads_;
  std::atomic<std::uint64_t> progress_{0};
};

}  // namespace drover
