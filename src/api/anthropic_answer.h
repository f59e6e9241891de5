// Answers of /v1/messages and of its count_tokens, and errors as Anthropic's clients expect them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/answer_form.h"

namespace drover::api {

std::unique_ptr<AnswerForm> make_anthropic_message_form(std::string_view model);
// For a request that is only rendered: {"input_tokens"}.
std::unique_ptr<AnswerForm> make_anthropic_count_form();

// {"type": "error", "error": {"type", "message"}, "request_id"}
std::string anthropic_error_text(const Error& error, int status);

}  // namespace drover::api
