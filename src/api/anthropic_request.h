// Anthropic's requests as the native ones that mean the same.
#pragma once

#include "api/generate_routes.h"
#include "api/json.h"

namespace drover::api {

// For the routes /v1/messages and /v1/messages/count_tokens. Errors: kInvalidArgument.
Result<Translated> translate_anthropic_message(Json body);
Result<Translated> translate_anthropic_count(Json body);

}  // namespace drover::api
