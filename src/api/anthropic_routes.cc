// The Anthropic-compatible routes.
#include "api/anthropic_answer.h"
#include "api/anthropic_request.h"
#include "api/generate_routes.h"

namespace drover::api {

void add_anthropic_routes(http::Router& router, Service& service) {
  add_generation_route(router, service, "/v1/messages",
                       {Endpoint::kChat, translate_anthropic_message, anthropic_error_text});
  add_generation_route(router, service, "/v1/messages/count_tokens",
                       {Endpoint::kChat, translate_anthropic_count, anthropic_error_text});
}

}  // namespace drover::api
