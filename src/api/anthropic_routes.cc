// The Anthropic-compatible routes.
#include "api/anthropic_answer.h"
#include "api/anthropic_request.h"
#include "api/generate_routes.h"

namespace drover::api {

void add_anthropic_routes(http::Router& router, Service& service) {
  const auto add = [&](const char* path, Dialect dialect) {
    router.add("POST", path, [&service, dialect](http::Exchange& exchange) {
      return answer_generation(service, exchange, dialect);
    });
  };
  add("/v1/messages", {Endpoint::kChat, translate_anthropic_message, anthropic_error_text});
  add("/v1/messages/count_tokens", {Endpoint::kChat, translate_anthropic_count, anthropic_error_text});
}

}  // namespace drover::api
