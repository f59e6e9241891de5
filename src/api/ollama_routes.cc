// Ollama's routes of requests to a model.
#include "api/embed_request.h"
#include "api/ollama_request.h"
#include "api/serve_request.h"

namespace drover::api {

void add_ollama_routes(http::Router& router, Service& service) {
  add_request_route(router, service, "/api/generate", {read_ollama_generate, ollama_error_text});
  add_request_route(router, service, "/api/chat", {read_ollama_chat, ollama_error_text});
  add_request_route(router, service, "/api/embed", {read_embed, ollama_error_text});
  add_request_route(router, service, "/api/embeddings", {read_embeddings, ollama_error_text});
}

}  // namespace drover::api
