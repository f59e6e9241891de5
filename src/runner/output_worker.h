// The thread after the engine: it detokenizes, finds stop strings, parses, and sends the text that is final. It works
// on one step while the engine computes the next.
#pragma once

#include <memory>
#include <unordered_map>

#include "base/mailbox.h"
#include "engine/llama_model.h"
#include "runner/frame_channel.h"
#include "runner/job.h"

namespace drover {

class OutputWorker {
 public:
  OutputWorker(const LlamaModel& model, FrameChannel& channel, Mailbox<EngineMail>& engine)
      : model_(model), channel_(channel), engine_(engine) {}

  // Returns when the mailbox is closed.
  void run(Mailbox<OutputMail>& mail);

 private:
  void on_token(const OutputToken& token);
  void on_end(OutputEnd& end);
  static bool ends_with_call(OutputJob& job, OutputPiece& piece);
  void send_chunks();
  static void fill(pb::Chunk& chunk, OutputPiece& piece);
  void add_logprobs(const OutputToken& token, pb::Chunk& chunk) const;

  const LlamaModel& model_;
  FrameChannel& channel_;
  Mailbox<EngineMail>& engine_;
  std::unordered_map<RequestId, std::unique_ptr<OutputJob>> jobs_;
  pb::FromRunner chunks_;  // collected since the last send
  std::string bytes_;      // of one token
};

}  // namespace drover
