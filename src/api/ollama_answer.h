// Answers of /api/generate and /api/chat, field by field in Ollama's order.
#pragma once

#include <memory>
#include <string_view>

#include "api/answer_form.h"

namespace drover::api {

enum class Endpoint { kGenerate, kChat };

std::unique_ptr<AnswerForm> make_ollama_form(Endpoint endpoint, std::string_view model);

}  // namespace drover::api
