// The Anthropic-compatible routes.
#include "api/anthropic_answer.h"
#include "api/anthropic_request.h"
#include "api/serve_request.h"

namespace drover::api {

void add_anthropic_routes(http::Router& router, Service& service) {
  add_request_route(router, service, "/v1/messages", {read_anthropic_message, anthropic_error_text});
  add_request_route(router, service, "/v1/messages/count_tokens", {read_anthropic_count, anthropic_error_text});
}

}  // namespace drover::api
