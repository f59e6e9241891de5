// What an embedding runner does instead of generating: turns texts into tokens, packs the inputs of all waiting
// requests into shared batches, computes them and answers. One thread makes tokens, another computes.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/mailbox.h"
#include "engine/embedder.h"
#include "engine/llama_model.h"
#include "runner/embed_packer.h"
#include "runner/frame_channel.h"
#include "runner/job.h"

namespace drover {

class EmbedLoop {
 public:
  EmbedLoop(const LlamaModel& model, Embedder& embedder, FrameChannel& channel);

  // A request: answered with Embedded or Failed. The thread that reads frames.
  void accept(pb::Embed work);
  // Drops what of a request has not been computed; answered with Finished. The same thread.
  void cancel(RequestId request);

  // The bodies of the two threads; they do not return.
  void tokenize();
  void compute();

  // How it goes; `running` is 0 while there is nothing to do. Any thread.
  pb::Health health() const;

 private:
  struct Job {
    RequestId request;
    std::vector<std::vector<Token>> inputs;
    std::vector<std::string> vectors;  // as they are sent
    std::size_t missing = 0;           // of the vectors
    std::size_t tokens = 0;
    TimePoint started{};
  };
  using Unprepared = std::variant<pb::Embed, Canceled>;
  using Mail = std::variant<std::unique_ptr<Job>, Canceled>;

  void prepare(pb::Embed& work);
  Result<std::vector<Token>> make_input(const pb::Embed& work, int index) const;
  void receive(Mail& mail);
  void compute_batch(const std::vector<EmbedPacker::Picked>& batch);
  void take(const EmbedPacker::Picked& picked, const std::vector<float>& vector);
  void fail(RequestId request, const Error& error);
  void answer(const pb::FromRunner& frame);

  const LlamaModel& model_;
  Embedder& embedder_;
  FrameChannel& channel_;
  // A cancel goes the way of its request, so it never overtakes it.
  Mailbox<Unprepared> unprepared_;
  Mailbox<Mail> mail_;
  // The computing thread's.
  EmbedPacker packer_;
  std::unordered_map<RequestId, std::unique_ptr<Job>> jobs_;

  std::atomic<std::uint32_t> running_{0};
  std::atomic<std::uint64_t> tokenized_{0};  // inputs, so that making tokens counts as progress
};

}  // namespace drover
