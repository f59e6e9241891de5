// Turns a request into the tokens of its prompt and the rules for its output: template, schema, tools, tokenizer. The
// cost depends on untrusted text, so it runs in a worker process (prepare/worker.h).
#pragma once

#include <vector>

#include "base/result.h"
#include "engine/chat_template.h"
#include "engine/llama_model.h"
#include "runner.pb.h"

namespace drover {

// The most tokens of prompt and output in this request's context: the requested number, at most `context_length`, and
// enough for one token of each.
int context_max_of(const pb::Generate& work, int context_length);

struct MadePrompt {
  RenderedPrompt rendered;
  std::vector<Token> tokens;
  std::size_t dropped_messages = 0;  // dropped because the prompt was too long
  std::size_t dropped_tokens = 0;
};

class PromptMaker {
 public:
  // `model` needs only its vocabulary.
  PromptMaker(const LlamaModel& model, const ChatTemplate& chat) : model_(model), chat_(chat) {}

  // Error: kInvalidArgument if the request is wrong.
  Result<MadePrompt> make(const pb::Generate& work, int context_max) const;

 private:
  Result<MadePrompt> make_chat_prompt(const pb::Generate& work, int context_max) const;
  Result<MadePrompt> render_what_fits(const pb::Generate& work, int context_max, std::size_t whole_tokens) const;
  Result<MadePrompt> render(const pb::Generate& work, const pb::Chat& chat) const;
  Result<void> add_tokens(const pb::Generate& work, MadePrompt& prompt) const;
  Result<MadePrompt> make_infill_prompt(const pb::Infill& infill) const;
  Result<void> fit(const pb::Generate& work, int context_max, MadePrompt& prompt) const;

  const LlamaModel& model_;
  const ChatTemplate& chat_;
};

}  // namespace drover
