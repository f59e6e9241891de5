// Answers of /v1/chat/completions and /v1/completions, and errors as OpenAI's clients expect them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/answer_form.h"
#include "api/openai_tools.h"

namespace drover::api {

// What of a request its answer has to know.
struct OpenaiAsk {
  std::string model;
  bool include_usage = false;  // a stream ends with a chunk that holds it
  bool logprobs = false;
  bool hide_reasoning = false;
  bool old_functions = false;  // a call goes back as `function_call`: see openai_functions.h
  bool unquote = false;        // what the model writes is a JSON string, and its text the answer
  OpenaiTools tools{};
};

std::unique_ptr<AnswerForm> make_openai_chat_form(OpenaiAsk ask);
std::unique_ptr<AnswerForm> make_openai_completion_form(OpenaiAsk ask);

// {"error": {"message", "type", "param", "code"}}
std::string openai_error_text(const Error& error, int status);
// As in "code": null where there is none.
const char* openai_error_code(const Error& error, int status);
// References to answers that are not kept (any more), in OpenAI's words: kNotKept.
Error previous_response_not_found(std::string_view id);
Error item_not_found(std::string_view id);
Error response_not_found(std::string_view id);
std::int64_t unix_seconds();

}  // namespace drover::api
