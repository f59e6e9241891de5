// What a client asks of a model, whatever dialect it was written in. A dialect's reader makes it of a body
// (ollama_request.h, openai_request.h, anthropic_request.h, embed_request.h); bind_ask() makes something of it that can
// be submitted. Nothing in it depends on the model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/json.h"
#include "api/warnings.h"
#include "base/clock.h"
#include "runner.pb.h"

namespace drover::api {

// What to do when a client asks for thinking and the model does not support it.
enum class ThinkRule { kRefuse, kIgnore };

struct ThinkAsk {
  pb::Thinking wish = pb::THINKING_UNSET;  // UNSET: as the model says, or the server
  std::string level;                       // with ON: how hard; empty: not said
  ThinkRule rule = ThinkRule::kRefuse;
};

// A text to be answered or continued.
struct PromptAsk {
  std::string prompt;
  std::string suffix;                  // the text behind the answer
  std::string system;                  // empty: the model's own
  std::string template_text;           // empty: the model's own
  bool raw = false;                    // no template at all
  std::vector<std::uint32_t> context;  // tokens before the prompt
};

struct Ask {
  std::string model;  // as the client wrote it; answers repeat it
  std::string user;   // the end user whom the body names: see user_of()
  bool stream = true;
  bool load_only = false;              // there is nothing to answer: the model is to be in memory
  std::optional<Duration> keep_alive;  // unset: the server's default
  Json options = Json::object();       // of those of store/parameters.h, each in its type and range
  // A prompt; a conversation, as far as it is the client's own; or inputs to make vectors of.
  std::variant<PromptAsk, pb::Chat, pb::Embed> input;
  Warnings warnings;

  // ---- of a generation
  ThinkAsk think;
  pb::Format format;
  bool has_tools = false;  // the model has to know tools, whether or not it is offered any
  bool truncate = true;
  bool shift = true;
  bool render_only = false;
  bool want_tokens = false;  // the answer tells the tokens of prompt and output
  bool logprobs = false;
  std::uint32_t top_logprobs = 0;

  // It asks for the end of the model's stay in memory.
  bool unloads() const { return load_only && keep_alive == Duration::zero(); }
};

}  // namespace drover::api
