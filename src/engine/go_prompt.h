// Renders prompts with Ollama's Go templates, and derives from a template how to read the output.
#pragma once

#include "base/result.h"
#include "engine/chat_template.h"
#include "runner.pb.h"

namespace drover {

// Uses chat.go_template(). Error: kInvalidArgument if the template cannot be parsed or refuses the messages, or if the
// schema cannot be used.
Result<RenderedPrompt> render_go(const pb::Chat& chat, const pb::Format& format);

// GBNF for calls of these tools as JSON after `tag`, in the form that JsonCalls reads. `arguments`: the key of a call's
// arguments. Error: as grammar_for().
Result<std::string> json_calls_grammar(std::string tag, const char* arguments, const std::string& tools_json);

}  // namespace drover
