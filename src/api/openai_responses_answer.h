// Answers of /v1/responses: a list of items (reasoning, message, function calls) and, streaming, the events that build
// it.
#pragma once

#include <memory>

#include "api/answer_form.h"
#include "api/json.h"

namespace drover::api {

// `echo` holds the fields of the response that repeat the request or never change, beside id, status and what follows
// from the generation.
std::unique_ptr<AnswerForm> make_openai_response_form(Json echo);

}  // namespace drover::api
