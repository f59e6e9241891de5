// Reads the bodies of Anthropic's routes. Errors name a field as its client wrote it: "messages[0].content must be …".
#pragma once

#include "api/json.h"
#include "api/request.h"

namespace drover::api {

// For the routes /v1/messages and /v1/messages/count_tokens. Errors: kInvalidArgument.
Result<Request> read_anthropic_message(Json body);
Result<Request> read_anthropic_count(Json body);

}  // namespace drover::api
