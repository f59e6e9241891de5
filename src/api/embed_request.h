// Reads the bodies of requests for vectors.
#pragma once

#include "api/json.h"
#include "api/request.h"

namespace drover::api {

// For the routes /api/embed, /api/embeddings and /v1/embeddings. Errors: kInvalidArgument, kNotFound (no model is
// named).
Result<Request> read_embed(Json body);
Result<Request> read_embeddings(Json body);
Result<Request> read_openai_embeddings(Json body);

}  // namespace drover::api
