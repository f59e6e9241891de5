// Answers of /v1/responses: a list of items (reasoning, message, function calls) and, streaming, the events that build
// it.
#pragma once

#include <functional>
#include <memory>

#include "api/answer_form.h"
#include "api/json.h"
#include "api/openai_tools.h"
#include "api/response_memory.h"

namespace drover::api {

// `echo` holds the fields of the response that repeat the request or never change, beside id, status and what follows
// from the generation. `keep`, if there is one, is given the answer before its end is sent.
std::unique_ptr<AnswerForm> make_openai_response_form(Json echo, OpenaiTools tools,
                                                      std::function<void(KeptResponse)> keep);

}  // namespace drover::api
