// Engine over one llama.cpp context with one unified KV pool.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>

#include "engine/compute_threads.h"
#include "engine/engine.h"
#include "engine/llama_model.h"

struct llama_context;

namespace drover {

struct ContextOptions {
  int cells = 4096;  // KV cells, shared by all sequences
  int seqs = 1;      // sequences that may be live at a time
  int step_tokens_max = 512;
  int threads = 0;            // 0: the physical cores
  std::string kv_cache_type;  // "" (f16), f16, q8_0, q4_0; f32 for exact comparisons
  int flash_attention = -1;   // -1: the engine decides, 0: off, 1: on
};

class LlamaEngine final : public Engine {
 public:
  // Creates the context, determines what its memory supports, and computes one token, so that the first request finds a
  // warm model. Error: kNoSpace if memory is short, kInternal otherwise.
  static Result<std::unique_ptr<LlamaEngine>> create(const LlamaModel& model, const ContextOptions& options);
  ~LlamaEngine() override;

  EngineLimits limits() const override { return limits_; }
  bool apply(std::span<const MemoryOperation> operations) override;
  DecodeStatus decode(std::span<const Row> rows) override;

  // Logits (vocabulary_size floats) of row `index` of the last decode, which had `output` set. Valid until the next
  // decode. Engine thread only; other threads may read the memory while no decode runs.
  const float* logits(int index);

  // Makes the running decode end with kAborted as soon as the back end supports it (the CPU does). Any thread.
  void request_abort() { abort_.store(true, std::memory_order_relaxed); }
  void clear_abort() { abort_.store(false, std::memory_order_relaxed); }

  // Grows while a step is computed (with every node of the graph, on back ends that tell) and with each step. Any
  // thread.
  std::uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }

  void share_processors(int runners) { threads_->share_processors(runners); }  // see ComputeThreads; any thread
  int threads() const { return threads_->used(); }  // threads of the last step; engine thread

  // Bytes of weights, KV and compute buffers, and of all that may be saved.
  std::uint64_t memory_bytes() const;
  std::uint64_t device_bytes() const;  // the part that is not in host memory

 private:
  struct Batch;
  void copy(const MemoryOperation& operation);
  bool remove(const MemoryOperation& operation);
  void save(const MemoryOperation& operation);
  bool restore(const MemoryOperation& operation);
  void drop_shadow_of(std::span<const Row> rows);
  LlamaEngine() = default;
  Result<void> probe_memory(const LlamaModel& model, const ContextOptions& options);

  llama_context* context_ = nullptr;
  std::unique_ptr<Batch> batch_;
  EngineLimits limits_;
  struct Saved {
    std::unique_ptr<std::uint8_t[]> state;
    std::size_t size = 0;  // bytes; 0: saving failed
  };
  std::unordered_map<Piece, Saved> saved_;
  int first_ = 0;  // llama.cpp's sequence for sequence s is first_ + s
  // Not 0: each cell of sequence s is held by sequence s + shadow_ as well, see create().
  int shadow_ = 0;
  std::unique_ptr<ComputeThreads> threads_;
  std::uint64_t work_of_row_ = 0;              // multiplications
  static bool on_node_computed(void* engine);  // whether to abort
  std::atomic<bool> abort_{false};
  std::atomic<std::uint64_t> progress_{0};
};

}  // namespace drover
