// The OpenAI-compatible routes: requests to a model, answers that are kept, and the list of models as OpenAI has it.
#include <functional>
#include <variant>

#include "api/embed_request.h"
#include "api/kept_response.h"
#include "api/openai_answer.h"
#include "api/openai_request.h"
#include "api/openai_responses.h"
#include "api/openai_tokens.h"
#include "api/request_identity.h"
#include "api/response_memory.h"
#include "api/serve_request.h"

namespace drover::api {
namespace {

using ModelPointer = std::shared_ptr<const Model>;

Json model_entry(const Service& service, const std::string& id, const Model& model) {
  Json entry = Json::object();
  entry["id"] = id;
  entry["object"] = "model";
  entry["created"] = std::chrono::duration_cast<std::chrono::seconds>(model.modified_at.time_since_epoch()).count();
  entry["owned_by"] = model.name.name_space();
  entry["max_model_len"] = context_of(service, model);  // vLLM's
  return entry;
}

asio::awaitable<void> list(Service& service, http::Exchange& exchange) {
  const auto list_models = [&service] { return service.store.list(); };
  const std::vector<ModelPointer> models = co_await on_disk(service, list_models);
  Json body = Json::object();
  body["object"] = "list";
  Json& data = body["data"] = Json::array();
  for (const ModelPointer& model : models) data.push_back(model_entry(service, model->name.display_shortest(), *model));
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
    co_await send_error(exchange, model.error(), openai_error_text);
    co_return;
  }
  const Json entry = model_entry(service, id, **model);
  co_await send_json(exchange, entry);
}

// A body that refers to answers kept here, once it is read.
struct WithReferences {
  Json body;
  ResponseReferences references;
};

Result<RecalledItems> recall(ResponseMemory& memory, std::string_view client, const ResponseReferences& references) {
  RecalledItems recalled;
  const TimePoint now = Clock::now();
  if (!references.previous.empty()) {
    auto before = memory.conversation(client, references.previous, now);
    if (!before) return before.error();
    recalled.before = std::move(*before);
  }
  for (const std::string& id : references.items) {
    auto item = memory.item(client, id, now);
    if (!item) return item.error();
    recalled.items[id] = std::move(*item);
  }
  return recalled;
}

// Whose an answer is. The users of one key do not see each other's.
std::string owner_of(const std::string& client, std::string_view user) {
  return client + '\0' + std::string(user);
}

// Only the look-up is the I/O thread's; what it finds is read elsewhere.
asio::awaitable<Result<Request>> read_exchange(Service& service, ResponseMemory& memory, http::Exchange& exchange) {
  const std::string client = client_of(exchange);
  const auto keep = [&memory, client](const std::string& user) -> KeepResponse {
    return [&memory, who = owner_of(client, user)](KeptResponse response) {
      memory.keep(who, std::move(response), Clock::now());
    };
  };
  using Read = std::variant<Request, WithReferences>;
  const auto make = [keep](Json body) -> Result<Read> {
    ResponseReferences references = references_of(body);
    if (!references.empty()) return Read(WithReferences{std::move(body), std::move(references)});
    std::string user = user_of(body);
    auto request = read_response(std::move(body), {}, keep(user));
    if (!request) return std::move(request).error();
    request->ask.user = std::move(user);
    return Read(std::move(*request));
  };
  Result<Read> read = co_await read_body_as(service, exchange, make);
  if (!read) co_return std::move(read).error();
  if (auto* request = std::get_if<Request>(&*read)) co_return std::move(*request);
  WithReferences& asked = std::get<WithReferences>(*read);
  const std::string user = user_of(asked.body);
  auto recalled = recall(memory, owner_of(client, user), asked.references);
  if (!recalled) co_return std::move(recalled).error();
  const auto work = [&] { return read_response(std::move(asked.body), *recalled, keep(user)); };
  Result<Request> request = co_await on_disk(service, work);
  if (request) request->ask.user = user;
  co_return request;
}

asio::awaitable<void> send_openai_error(http::Exchange& exchange, const Error& error) {
  co_await send_error(exchange, error, openai_error_text);
}

// Sends what show() makes of an answer that is kept for this client.
asio::awaitable<void> show_kept(Service& service, ResponseMemory& memory, http::Exchange& exchange,
                                std::function<Result<std::string>(const KeptResponse&)> show) {
  const std::string id(exchange.parameter("id"));
  const auto kept = memory.response(owner_of(client_of(exchange), exchange.query("user")), id, Clock::now());
  if (!kept) {
    co_await send_openai_error(exchange, response_not_found(id));
    co_return;
  }
  auto text = co_await on_disk(service, [&] { return show(*kept); });
  if (!text) {
    co_await send_openai_error(exchange, text.error());
    co_return;
  }
  co_await exchange.send(200, kJsonType, std::move(*text));
}

asio::awaitable<void> get_response(Service& service, ResponseMemory& memory, http::Exchange& exchange) {
  if (exchange.query("stream") == "true") {
    const Error error = invalid("a stored response cannot be streamed");
    co_await send_openai_error(exchange, error);
    co_return;
  }
  const auto show = [](const KeptResponse& kept) -> Result<std::string> { return kept_response_text(kept); };
  co_await show_kept(service, memory, exchange, show);
}

asio::awaitable<void> list_input_items(Service& service, ResponseMemory& memory, http::Exchange& exchange) {
  const auto page = read_item_page(exchange.query("limit"), exchange.query("order"), exchange.query("after"));
  if (!page) {
    co_await send_openai_error(exchange, page.error());
    co_return;
  }
  const auto show = [&page](const KeptResponse& kept) { return input_items_text(kept, *page); };
  co_await show_kept(service, memory, exchange, show);
}

asio::awaitable<void> delete_response(ResponseMemory& memory, http::Exchange& exchange) {
  const std::string id(exchange.parameter("id"));
  if (!memory.forget(owner_of(client_of(exchange), exchange.query("user")), id, Clock::now())) {
    co_await send_openai_error(exchange, response_not_found(id));
    co_return;
  }
  const Json deleted{{"id", id}, {"object", "response"}, {"deleted", true}};
  co_await send_json(exchange, deleted);
}

}  // namespace

void add_openai_routes(http::Router& router, Service& service) {
  const auto add = [&](std::string_view path, Result<Request> (*read)(Json)) {
    add_request_route(router, service, path, {read, openai_error_text});
  };
  add("/v1/chat/completions", read_openai_chat);
  add("/v1/completions", read_openai_completion);
  add("/v1/embeddings", read_openai_embeddings);
  add("/tokenize", read_tokenize);
  add("/detokenize", read_detokenize);
  const auto memory = std::make_shared<ResponseMemory>();  // lives as long as the router
  const auto read = [&service, memory](http::Exchange& exchange) { return read_exchange(service, *memory, exchange); };
  add_request_route(router, service, "/v1/responses", {nullptr, openai_error_text, read});
  router.add("GET", "/v1/responses/:id",
             [&service, memory](http::Exchange& exchange) { return get_response(service, *memory, exchange); });
  router.add("GET", "/v1/responses/:id/input_items",
             [&service, memory](http::Exchange& exchange) { return list_input_items(service, *memory, exchange); });
  router.add("DELETE", "/v1/responses/:id",
             [memory](http::Exchange& exchange) { return delete_response(*memory, exchange); });
  router.add("GET", "/v1/models", [&service](http::Exchange& exchange) { return list(service, exchange); });
  // As vLLM and llama-server say that they live.
  router.add("GET", "/health", [](http::Exchange& exchange) -> asio::awaitable<void> {
    std::string text = R"({"status":"ok"})";
    co_await exchange.send(200, kJsonType, std::move(text));
  });
  // Names may hold slashes.
  router.add("GET", "/v1/models/*model", [&service](http::Exchange& exchange) { return retrieve(service, exchange); });
}

}  // namespace drover::api
