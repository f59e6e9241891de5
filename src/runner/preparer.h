// Turns a request into the parts that the engine and the output thread need. Work whose cost depends on a client's text
// is done by worker processes (prepare/prepare_driver.h); this turns their answers into a sampler and a parser.
#pragma once

#include "base/mailbox.h"
#include "engine/grammar_cache.h"
#include "engine/llama_model.h"
#include "prepare/prepare_driver.h"
#include "prepare/prompt_maker.h"
#include "runner/frame_channel.h"
#include "runner/job.h"

namespace drover {

class Preparer {
 public:
  Preparer(const LlamaModel& model, Keeper& keeper, const PrepareLimits& limits, int context_length,
           FrameChannel& channel, Mailbox<EngineMail>& engine);

  // Each request ends as Prepared or Refused in the engine's mailbox. Any thread.
  void accept(pb::Generate work);
  // A request that is not prepared yet is answered with Finished. Any thread, after accept().
  void cancel(RequestId request) { driver_.cancel(request); }

  // The thread's body, until close().
  void run() { driver_.run(); }
  void close() { driver_.close(); }

  // The number of requests that are being prepared, and a counter that grows while there are some. Any thread.
  std::uint32_t requests() const { return driver_.requests(); }
  std::uint64_t progress() const { return driver_.progress(); }

 private:
  void finish(const pb::Generate& work, int context_max, pb::Prompt& made);
  void report_started(const pb::Generate& work, int context_max, const MadePrompt& prompt);
  void refuse(RequestId request, const Error& error);

  const LlamaModel& model_;
  GrammarCache grammars_;
  const int context_length_;
  FrameChannel& channel_;
  Mailbox<EngineMail>& engine_;
  PrepareDriver driver_;
};

}  // namespace drover
