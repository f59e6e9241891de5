// Reads the bodies of /api/generate and /api/chat.
#pragma once

#include "api/ask_reader.h"
#include "api/json.h"
#include "api/request.h"

namespace drover::api {

// Errors: kInvalidArgument, in the words of Ollama and with its statuses: an option of a wrong type and a format that
// is none are 500 there.
Result<Request> read_ollama_generate(Json body);
Result<Request> read_ollama_chat(Json body);

// `options`, as all of Ollama's requests have them.
Result<void> read_ollama_options(const Json& body, AskReader& reader);

}  // namespace drover::api
