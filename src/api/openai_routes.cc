// The OpenAI-compatible routes: generations, and the list of models as OpenAI has it.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <variant>

#include "api/error_status.h"
#include "api/generate_routes.h"
#include "api/kept_response.h"
#include "api/openai_answer.h"
#include "api/openai_request.h"
#include "api/openai_responses.h"
#include "api/request_identity.h"
#include "api/response_memory.h"
#include "fleet/ticket.h"
#include "store/parameters.h"

namespace drover::api {
namespace {

using ModelPointer = std::shared_ptr<const Model>;

// Tokens that a request may hold which says nothing of it: the model's own wish, or the server's default.
int context_of(const Service& service, const Model& model) {
  int context = integer_option(model.parameters, "num_ctx", 0);
  if (context <= 0) context = context_default(service.settings);
  const std::uint64_t trained = model.gguf->context_length();
  if (trained > 0 && trained < static_cast<std::uint64_t>(context)) context = static_cast<int>(trained);
  return context;
}

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
    co_await send_error(exchange, model.error(), 0, std::nullopt, openai_error_text);
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
asio::awaitable<Result<Translated>> read_response(Service& service, ResponseMemory& memory, http::Exchange& exchange) {
  const std::string client = client_of(exchange);
  const auto keep = [&memory, client](const std::string& user) -> KeepResponse {
    return [&memory, who = owner_of(client, user)](KeptResponse response) {
      memory.keep(who, std::move(response), Clock::now());
    };
  };
  using Read = std::variant<Translated, WithReferences>;
  const auto make = [keep](Json body) -> Result<Read> {
    ResponseReferences references = references_of(body);
    if (!references.empty()) return Read(WithReferences{std::move(body), std::move(references)});
    std::string user = user_of(body);
    auto translated = translate_response(std::move(body), {}, keep(user));
    if (!translated) return std::move(translated).error();
    translated->user = std::move(user);
    return Read(std::move(*translated));
  };
  Result<Read> read = co_await read_body_as(service, exchange, make);
  if (!read) co_return std::move(read).error();
  if (auto* translated = std::get_if<Translated>(&*read)) co_return std::move(*translated);
  WithReferences& asked = std::get<WithReferences>(*read);
  const std::string user = user_of(asked.body);
  auto recalled = recall(memory, owner_of(client, user), asked.references);
  if (!recalled) co_return std::move(recalled).error();
  const auto work = [&] { return translate_response(std::move(asked.body), *recalled, keep(user)); };
  Result<Translated> translated = co_await on_disk(service, work);
  if (translated) translated->user = user;
  co_return translated;
}

asio::awaitable<void> send_openai_error(http::Exchange& exchange, const Error& error) {
  co_await send_error(exchange, error, 0, std::nullopt, openai_error_text);
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
    const Error error = invalid("an answer that is kept is not streamed");
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

// ---- /tokenize and /detokenize, as vLLM and llama-server have them

// A request for tokens, or for the text that tokens are.
struct TokenAsk {
  Json native;  // of which nothing is generated
  Endpoint endpoint = Endpoint::kGenerate;
  ThinkRule think_rule = ThinkRule::kRefuse;
  std::vector<std::uint32_t> context;  // tokens before the text
  bool plain = false;                  // without the tokens that the vocabulary puts around a text
  bool to_text = false;                // the text of `context` is wanted
  int tokens_max = 0;                  // that a request to this model may hold
  Warnings warnings;
  std::string user;
};

Json token_request(Fields& fields, const std::string& prompt) {
  return Json{{"model", fields.text("model")}, {"prompt", prompt}, {"raw", true}};
}

// llama-server's `content` has no special tokens unless it says so, vLLM's `prompt` and `messages` have them.
Result<TokenAsk> read_tokenize(Json body) {
  Fields fields(body, "TokenizeRequest");
  TokenAsk ask;
  ask.user = user_of(body);
  if (fields.array("messages") != nullptr) {
    auto chat = translate_openai_chat(body);
    if (!chat) return chat.error();
    ask.native = std::move(chat->body);
    ask.endpoint = Endpoint::kChat;
    ask.think_rule = chat->think_rule;
    return ask;
  }
  const auto content = fields.optional_text("content");
  const auto prompt = fields.optional_text("prompt");
  if (!content && !prompt) fields.fail("content, prompt or messages is required");
  const auto special = fields.flag(content ? "add_special" : "add_special_tokens");
  ask.plain = !special.value_or(!content);
  ask.native = token_request(fields, content ? *content : prompt.value_or(""));
  if (fields.error()) return *fields.error();
  name_ignored(body, " model user content prompt add_special add_special_tokens parse_special ", ask.warnings);
  // A prompt without any token is none.
  ask.plain = ask.plain || ask.native["prompt"] == "";
  return ask;
}

Result<TokenAsk> read_detokenize(Json body) {
  Fields fields(body, "DetokenizeRequest");
  TokenAsk ask;
  ask.user = user_of(body);
  ask.native = token_request(fields, "");
  ask.to_text = true;
  const Json* tokens = fields.array("tokens");
  if (tokens == nullptr) fields.fail("tokens is required");
  if (fields.error()) return *fields.error();
  for (const Json& token : *tokens) {
    if (!token.is_number_unsigned() || token > std::numeric_limits<std::int32_t>::max()) {
      return invalid("tokens must be a list of numbers");
    }
    ask.context.push_back(token.get<std::uint32_t>());
  }
  return ask;
}

std::variant<Submission, RequestError> token_submission(Service& service, const http::Exchange& exchange,
                                                        TokenAsk& ask) {
  auto head = read_head(ask.endpoint, ask.native);
  if (!head) return RequestError{head.error(), 0};
  if (head->model.empty()) return RequestError{invalid("model is required"), 0};
  const auto name = ModelName::parse(head->model);
  if (!name) return RequestError{name.error(), 0};
  const auto model = service.store.find(*name);
  if (!model && model.error().code == ErrorCode::kNotFound) return RequestError{model_not_found(head->model), 0};
  if (!model) return RequestError{model.error(), 0};
  Submission submission;
  submission.target = target_of(*model, (*model)->name.display_shortest(), service.settings);
  if (auto error = read_generation(ask.endpoint, ask.native, **model, ask.think_rule, service.settings, submission,
                                   ask.warnings)) {
    return *error;
  }
  ask.tokens_max = context_of(service, **model);
  pb::Generate& work = submission.work;
  work.set_render_only(true);
  work.set_truncate(false);
  work.set_want_context(true);
  // With a token before it a text is one that goes on.
  if (ask.plain) work.add_context(0);
  work.mutable_context()->Add(ask.context.begin(), ask.context.end());
  if (auto queueing = read_queueing(exchange, ask.user, submission); !queueing)
    return RequestError{queueing.error(), 0};
  submission.streams = false;
  return submission;
}

std::string tokens_text(const pb::Finished& finished, const TokenAsk& ask) {
  const auto& tokens = finished.context();
  const auto begin = tokens.begin() + std::min(ask.plain ? 1 : 0, tokens.size());
  return fmt::format(R"({{"tokens":[{}],"count":{},"max_model_len":{}}})", fmt::join(begin, tokens.end(), ","),
                     tokens.end() - begin, ask.tokens_max);
}

// Under the name that each of the two has for it.
std::string prompt_text(const std::string& prompt) {
  const Json said = prompt;
  return to_text(Json{{"content", said}, {"prompt", said}});
}

// A longer list is written on the disk's threads: a prompt that nothing is computed from may have millions.
constexpr int kInlineTokensMax = 32'768;

asio::awaitable<void> answer_tokens(Service& service, http::Exchange& exchange, const TokenAsk& ask, Ticket& ticket) {
  exchange.on_disconnect([&ticket] { ticket.cancel(); });
  std::string text;
  while (true) {
    RequestEvent event = co_await ticket.next();
    if (const auto* started = std::get_if<pb::Started>(&event)) {
      if (!ask.to_text) continue;
      const auto make = [started] { return prompt_text(started->rendered_prompt()); };
      if (started->rendered_prompt().size() > kInlineBodyBytesMax) {
        text = co_await on_disk(service, make);
      } else {
        text = make();
      }
    } else if (const auto* finished = std::get_if<pb::Finished>(&event)) {
      const auto make = [&ask, finished] { return tokens_text(*finished, ask); };
      if (!ask.to_text && finished->context_size() > kInlineTokensMax) {
        text = co_await on_disk(service, make);
      } else if (!ask.to_text) {
        text = make();
      }
      co_await exchange.send(200, kJsonType, std::move(text));
      co_return;
    } else if (auto* failed = std::get_if<EventFailed>(&event)) {
      if (failed->error.code == ErrorCode::kCanceled && exchange.disconnected()) co_return;
      const int status = request_status(failed->error.code);
      co_await send_error(exchange, failed->error, status, failed->retry_after, openai_error_text);
      co_return;
    }
  }
}

asio::awaitable<void> handle_tokens(Service& service, http::Exchange& exchange, Result<TokenAsk> (*read_ask)(Json)) {
  RequestIdentity identity = identify(exchange);
  auto ask = co_await read_body_as(service, exchange, read_ask);
  if (!ask) {
    service.driver.note_refused(std::move(identity), ask.error());
    co_await send_error(exchange, ask.error(), unread_status(exchange, ask.error()), std::nullopt, openai_error_text);
    co_return;
  }
  auto read = token_submission(service, exchange, *ask);
  if (const auto* error = std::get_if<RequestError>(&read)) {
    service.driver.note_refused(std::move(identity), error->error);
    co_await send_openai_error(exchange, error->error);
    co_return;
  }
  tell_warnings(ask->warnings, identity, exchange);
  Submission& submission = std::get<Submission>(read);
  const std::string key = submission.target.key;
  identity.client = shown_client(submission.client);
  submission.identity = std::move(identity);
  auto ticket = service.driver.submit(std::move(submission));
  if (!ticket) {
    const int status = request_status(ticket.error().code);
    co_await send_error(exchange, ticket.error(), status, service.driver.retry_after(key), openai_error_text);
    co_return;
  }
  tell_position(exchange, service.driver, **ticket);
  co_await answer_tokens(service, exchange, *ask, **ticket);
}

}  // namespace

void add_openai_routes(http::Router& router, Service& service) {
  add_generation_route(router, service, "/v1/chat/completions",
                       {Endpoint::kChat, translate_openai_chat, openai_error_text});
  add_generation_route(router, service, "/v1/completions",
                       {Endpoint::kGenerate, translate_openai_completion, openai_error_text});
  const auto memory = std::make_shared<ResponseMemory>();  // lives as long as the router
  const auto read = [&service, memory](http::Exchange& exchange) { return read_response(service, *memory, exchange); };
  add_generation_route(router, service, "/v1/responses", {Endpoint::kChat, nullptr, openai_error_text, read});
  router.add("GET", "/v1/responses/:id",
             [&service, memory](http::Exchange& exchange) { return get_response(service, *memory, exchange); });
  router.add("GET", "/v1/responses/:id/input_items",
             [&service, memory](http::Exchange& exchange) { return list_input_items(service, *memory, exchange); });
  router.add("DELETE", "/v1/responses/:id",
             [memory](http::Exchange& exchange) { return delete_response(*memory, exchange); });
  router.add("POST", "/tokenize",
             [&service](http::Exchange& exchange) { return handle_tokens(service, exchange, read_tokenize); });
  router.add("POST", "/detokenize",
             [&service](http::Exchange& exchange) { return handle_tokens(service, exchange, read_detokenize); });
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
