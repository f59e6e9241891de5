// Serves the requests of an embedding runner: turns texts into tokens, packs the inputs of all waiting requests into
// shared batches, computes them and answers. Worker processes make the tokens (prepare/prepare_driver.h). The wide
// worker and each lane (runner/embed_packer.h) are one thread each.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "engine/embedder.h"
#include "engine/llama_model.h"
#include "prepare/prepare_driver.h"
#include "runner/embed_packer.h"
#include "runner/frame_channel.h"
#include "runner/job.h"

namespace drover {

class EmbedLoop {
 public:
  // `wide` computes with all threads; each of `lanes`, if there are any, with one.
  EmbedLoop(const LlamaModel& model, Embedder& wide, std::vector<std::unique_ptr<Embedder>> lanes, Keeper& keeper,
            const PrepareLimits& limits, FrameChannel& channel);

  // A request: answered with Embedded or Failed. The thread that reads frames.
  void accept(pb::Embed work);
  // Drops the inputs of a request that are not computed yet, and answers with Finished. The same thread.
  void cancel(RequestId request) { tokenizing_.cancel(request); }

  // The bodies of the threads: one that has texts tokenized, one for the wide worker, one for each lane. They never
  // return.
  void tokenize() { tokenizing_.run(); }
  void compute_wide();
  void compute_in_lane(std::size_t lane);
  std::size_t lanes() const { return lanes_.size(); }

  // Progress and load; `running` is 0 while there is no request. Any thread.
  pb::Health health() const;

 private:
  struct Job {
    RequestId request;
    std::vector<std::vector<Token>> inputs;
    std::vector<std::string> vectors;  // in the form in which they are sent
    std::size_t missing = 0;           // of the vectors
    std::size_t tokens = 0;
    TimePoint started{};
  };
  // The batch of a worker, with the tokens of its inputs: a request may be canceled while it is computed.
  struct Batch {
    std::vector<EmbedPacker::Picked> picked;
    std::vector<std::vector<Token>> inputs;
  };
  using Vectors = Result<std::vector<std::vector<float>>>;

  void prepare(const pb::Embed& work, std::vector<std::vector<Token>> inputs);
  void on_tokens(const pb::Embed& work, const pb::Inputs& made);
  Result<void> check_input(const pb::Embed& work, std::vector<Token>& tokens) const;
  void add(std::unique_ptr<Job> job);
  void remove(RequestId request);
  void send_canceled(RequestId request);
  void compute(Embedder& embedder, EmbedWorker worker);
  Batch next_batch(EmbedWorker worker);
  std::vector<std::unique_ptr<Job>> take(const Batch& batch, const Vectors& vectors, EmbedWorker worker);
  void answer(Job& job);
  void fail(RequestId request, const Error& error);
  void send(const pb::FromRunner& frame);

  const LlamaModel& model_;
  Embedder& wide_;
  const std::vector<std::unique_ptr<Embedder>> lanes_;
  FrameChannel& channel_;
  PrepareDriver tokenizing_;  // a cancel takes the same way as its request, so it never overtakes it

  Mutex mutex_;  // no thread computes, writes or makes tokens while it holds this
  std::condition_variable changed_;
  EmbedPacker packer_ GUARDED_BY(mutex_);
  std::unordered_map<RequestId, std::unique_ptr<Job>> jobs_ GUARDED_BY(mutex_);

  std::atomic<std::uint32_t> running_{0};
};

}  // namespace drover
