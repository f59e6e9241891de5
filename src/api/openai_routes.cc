// The OpenAI-compatible routes: generations, and the list of models as OpenAI has it.
#include "api/generate_routes.h"
#include "api/openai_answer.h"
#include "api/openai_request.h"

namespace drover::api {
namespace {

using ModelPointer = std::shared_ptr<const Model>;

Json model_entry(const std::string& id, const Model& model) {
  Json entry = Json::object();
  entry["id"] = id;
  entry["object"] = "model";
  entry["created"] = std::chrono::duration_cast<std::chrono::seconds>(model.modified_at.time_since_epoch()).count();
  entry["owned_by"] = model.name.name_space();
  return entry;
}

asio::awaitable<void> list(Service& service, http::Exchange& exchange) {
  const auto list_models = [&service] { return service.store.list(); };
  const std::vector<ModelPointer> models = co_await on_disk(service, list_models);
  Json body = Json::object();
  body["object"] = "list";
  Json& data = body["data"] = Json::array();
  for (const ModelPointer& model : models) data.push_back(model_entry(model->name.display_shortest(), *model));
  co_await send_json(exchange, body);
}

asio::awaitable<void> retrieve(Service& service, http::Exchange& exchange) {
  const std::string id(exchange.parameter("model"));
  const auto work = [&service, &id]() -> Result<ModelPointer> {
    const auto name = ModelName::parse(id);
    if (!name) return name.error();
    auto found = service.store.find(*name);
    if (!found && found.error().code == ErrorCode::kNotFound) return model_not_found(id);
    return found;
  };
  const Result<ModelPointer> model = co_await on_disk(service, work);
  if (!model) {
    co_await send_error(exchange, model.error(), 0, std::nullopt, openai_error_text);
    co_return;
  }
  const Json entry = model_entry(id, **model);
  co_await send_json(exchange, entry);
}

}  // namespace

void add_openai_routes(http::Router& router, Service& service) {
  add_generation_route(router, service, "/v1/chat/completions",
                       {Endpoint::kChat, translate_openai_chat, openai_error_text});
  add_generation_route(router, service, "/v1/completions",
                       {Endpoint::kGenerate, translate_openai_completion, openai_error_text});
  add_generation_route(router, service, "/v1/responses",
                       {Endpoint::kChat, translate_openai_response, openai_error_text});
  router.add("GET", "/v1/models", [&service](http::Exchange& exchange) { return list(service, exchange); });
  // Names may hold slashes.
  router.add("GET", "/v1/models/*model", [&service](http::Exchange& exchange) { return retrieve(service, exchange); });
}

}  // namespace drover::api
