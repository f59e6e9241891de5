// Answers of /api/generate and /api/chat, field by field in Ollama's order.
#pragma once

#include <memory>
#include <string_view>

#include "api/answer_form.h"
#include "api/generation_request.h"

namespace drover::api {

std::unique_ptr<AnswerForm> make_ollama_form(Endpoint endpoint, std::string_view model);

}  // namespace drover::api
