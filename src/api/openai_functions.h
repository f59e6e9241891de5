// OpenAI's form of calls before there were tools, which programs still send: `functions`, `function_call`, and messages
// of the role "function".
#pragma once

#include <string>

#include "api/json.h"
#include "runner.pb.h"

namespace drover::api {

// Turns the body of a chat of that form into one with tools that means the same; others stay as they are. Returns
// whether a call has to go back in that form. A body that has tools keeps them, and its `functions` stand unread.
bool functions_to_tools(Json& body);

// Appends the field of a message that holds a call of that form.
void append_function_call(std::string& out, const pb::ToolCall& call);

}  // namespace drover::api
