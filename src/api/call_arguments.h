// The arguments of a conversation's tool calls, which a model wrote once and a client sends back.
#pragma once

#include "api/json.h"
#include "api/warnings.h"
#include "base/result.h"

namespace drover::api {

// Templates want an object, and get one in any case: an object as it is, the object that a text holds, and for nothing
// an empty one. Anything else (a text that was cut off or is no JSON, a list) becomes {"input": <that>} with a warning:
// to refuse it would end the conversation for ever, as it stands in the history of each further request. Errors are
// kInvalidArgument: a text that is JSON beyond the bounds of `reader`.
Result<Json> call_arguments(const Json* given, JsonReader& reader, Warnings& warnings);

}  // namespace drover::api
