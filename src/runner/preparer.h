// The worker thread that makes a request ready for the engine: chat template, tokens, grammar, sampler.
#pragma once

#include "base/mailbox.h"
#include "engine/chat_template.h"
#include "engine/grammar_cache.h"
#include "engine/llama_model.h"
#include "runner/frame_channel.h"
#include "runner/job.h"

namespace drover {

class Preparer {
 public:
  Preparer(const LlamaModel& model, const ChatTemplate& chat, int context_length, FrameChannel& channel,
           Mailbox<EngineMail>& engine)
      : model_(model),
        chat_(chat),
        grammars_(model),
        context_length_(context_length),
        channel_(channel),
        engine_(engine) {}

  // Takes requests until the mailbox is closed. Each ends as Prepared or Refused in the engine's mailbox.
  void run(Mailbox<pb::Generate>& requests);

 private:
  struct Prompt {
    RenderedPrompt rendered;
    std::vector<Token> tokens;
    std::size_t dropped_messages = 0;  // since the prompt is too long
    std::size_t dropped_tokens = 0;
  };
  void prepare(pb::Generate& work);
  Result<Prompt> make_prompt(const pb::Generate& work, int context_max) const;
  Result<Prompt> make_chat_prompt(const pb::Generate& work, int context_max) const;
  Result<Prompt> render_what_fits(const pb::Generate& work, int context_max, std::size_t whole_tokens) const;
  Result<Prompt> render(const pb::Generate& work, const pb::Chat& chat) const;
  Result<void> add_tokens(const pb::Generate& work, Prompt& prompt) const;
  Result<Prompt> make_infill_prompt(const pb::Infill& infill) const;
  Result<void> fit(const pb::Generate& work, int context_max, Prompt& prompt) const;
  void refuse(RequestId request, pb::Failed::Kind kind, const std::string& message);

  const LlamaModel& model_;
  const ChatTemplate& chat_;
  GrammarCache grammars_;
  const int context_length_;
  FrameChannel& channel_;
  Mailbox<EngineMail>& engine_;
};

}  // namespace drover
