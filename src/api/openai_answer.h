// Answers of /v1/chat/completions and /v1/completions, and errors as OpenAI's clients expect them.
#pragma once

#include <memory>
#include <string>

#include "api/answer_form.h"

namespace drover::api {

// What of a request its answer has to know.
struct OpenaiAsk {
  std::string model;
  bool include_usage = false;  // a stream ends with a chunk that holds it
  bool logprobs = false;
};

std::unique_ptr<AnswerForm> make_openai_chat_form(const OpenaiAsk& ask);
std::unique_ptr<AnswerForm> make_openai_completion_form(const OpenaiAsk& ask);

// {"error": {"message", "type", "param", "code"}}
std::string openai_error_text(const Error& error, int status);
// As in "code": null where there is none.
const char* openai_error_code(const Error& error, int status);
std::int64_t unix_seconds();

}  // namespace drover::api
