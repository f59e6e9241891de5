// Prompts by Ollama's Go templates, and what such a template says about the output.
#pragma once

#include "base/result.h"
#include "engine/chat_template.h"
#include "runner.pb.h"

namespace drover {

// By chat.go_template(). Error: kInvalidArgument if the template cannot be read or refuses the messages, or the schema
// cannot be used.
Result<RenderedPrompt> render_go(const pb::Chat& chat, const pb::Format& format);

// GBNF for calls of these tools as JSON after `tag`, in the form that JsonCalls reads. `arguments`: by which name a
// call has its arguments. Error: as grammar_for().
Result<std::string> json_calls_grammar(std::string tag, const char* arguments, const std::string& tools_json);

}  // namespace drover
