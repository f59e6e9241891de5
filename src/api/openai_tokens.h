// /tokenize and /detokenize, as vLLM and llama-server have them: requests that are prepared and generate nothing.
#pragma once

#include "api/json.h"
#include "api/request.h"

namespace drover::api {

// Errors: kInvalidArgument.
Result<Request> read_tokenize(Json body);
Result<Request> read_detokenize(Json body);

}  // namespace drover::api
