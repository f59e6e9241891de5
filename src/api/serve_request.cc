#include "api/serve_request.h"

#include <fmt/format.h>

#include <utility>

#include "api/answer.h"
#include "api/bind.h"
#include "api/request_identity.h"
#include "base/go_duration.h"

namespace drover::api {
namespace {

constexpr Duration kHeartbeatMin = std::chrono::seconds(1);

// Reads the headers that say who asks and how to queue. Error: kInvalidArgument.
Result<void> read_queueing(const http::Exchange& exchange, std::string_view user, Submission& into) {
  into.client = client_of(exchange, user);
  const std::string_view priority = exchange.header("X-Priority");
  if (priority == "high") {
    into.priority = Priority::kHigh;
  } else if (priority == "low") {
    into.priority = Priority::kLow;
  } else if (!priority.empty() && priority != "normal") {
    return invalid(fmt::format("X-Priority \"{}\" is not valid: it takes high, normal or low", priority));
  }
  if (const std::string_view timeout = exchange.header("X-Request-Timeout"); !timeout.empty()) {
    const auto parsed = parse_seconds_or_go_duration(timeout);
    if (!parsed || parsed->count() <= 0) {
      return invalid(
          fmt::format("X-Request-Timeout \"{}\" is not valid: it takes seconds or a duration such as 90s", timeout));
    }
    into.timeout = *parsed;
  }
  return {};
}

// X-Heartbeat, if there is one: a duration, at least a second; 0: none. Error: kInvalidArgument.
Result<Duration> read_heartbeat(const http::Exchange& exchange, const AnswerForm& form) {
  const std::string_view text = exchange.header("X-Heartbeat");
  if (text.empty()) return form.event_stream() ? kHeartbeatInterval : Duration::zero();
  const auto parsed = parse_seconds_or_go_duration(text);
  if (!parsed || parsed->count() < 0 || (parsed->count() > 0 && *parsed < kHeartbeatMin)) {
    return invalid(
        fmt::format("X-Heartbeat \"{}\" is not valid: it takes seconds or a duration such as 15s, or 0", text));
  }
  return Duration(*parsed);
}

// A request once everything that can be wrong with it has been ruled out.
struct Bound {
  Submission submission;
  Duration heartbeat{};
};

Result<Bound> bind_request(Service& service, const http::Exchange& exchange, Request& request) {
  const auto model = find_model(service.store, request.ask);
  if (!model) return model.error();
  request.form->bound(context_of(service, **model));
  auto submission = bind_ask(request.ask, *model, service.settings);
  if (!submission) return std::move(submission).error();
  request.ask.input = PromptAsk{};  // a request that waits should not hold its text twice
  Bound bound{std::move(*submission), {}};
  if (auto queueing = read_queueing(exchange, request.ask.user, bound.submission); !queueing) return queueing.error();
  const auto heartbeat = read_heartbeat(exchange, *request.form);
  if (!heartbeat) return heartbeat.error();
  bound.heartbeat = *heartbeat;
  return bound;
}

asio::awaitable<Result<Request>> read_request(Service& service, http::Exchange& exchange, const Dialect& dialect) {
  if (dialect.read_exchange) co_return co_await dialect.read_exchange(exchange);
  auto read = [how = dialect.read](Json body) -> Result<Request> {
    std::string user = user_of(body);
    Result<Request> request = how(std::move(body));
    if (request) request->ask.user = std::move(user);
    return request;
  };
  co_return co_await read_body_as(service, exchange, std::move(read));
}

asio::awaitable<void> refuse(Service& service, http::Exchange& exchange, RequestIdentity identity, const Error& error,
                             const Dialect& dialect) {
  service.driver.note_refused(std::move(identity), error);
  co_await send_error(exchange, error, dialect.error_text);
}

// The model leaves memory in both of its forms, for text and for vectors.
asio::awaitable<void> unload(Service& service, http::Exchange& exchange, AnswerForm& form, const std::string& key,
                             TimePoint arrived) {
  const std::string generating = generation_key(key);
  service.driver.unload(generating);
  service.driver.unload(embedding_key(generating));
  const pb::Finished nothing;
  const Timing timing{arrived};
  const Ending ending{"unload", nothing, timing};
  std::string text = form.whole(pb::Chunk(), ending);
  co_await exchange.send(200, kJsonType, std::move(text));
}

asio::awaitable<void> serve_request(Service& service, http::Exchange& exchange, Dialect dialect) {
  const TimePoint arrived = Clock::now();
  RequestIdentity identity = identify(exchange);
  Result<Request> request = co_await read_request(service, exchange, dialect);
  if (!request) {
    co_await refuse(service, exchange, std::move(identity), request.error(), dialect);
    co_return;
  }
  const auto bind_it = [&] { return bind_request(service, exchange, *request); };
  Result<Bound> bound = Error{};
  if (may_be_long(exchange)) {
    bound = co_await on_disk(service, bind_it);
  } else {
    bound = bind_it();
  }
  if (!bound) {
    co_await refuse(service, exchange, std::move(identity), bound.error(), dialect);
    co_return;
  }
  const Ask& ask = request->ask;
  Submission& submission = bound->submission;
  tell_warnings(ask.warnings, identity, exchange);
  const std::string key = submission.target.key;
  if (ask.unloads()) {
    co_await unload(service, exchange, *request->form, key, arrived);
    co_return;
  }
  identity.client = shown_client(submission.client);
  submission.identity = std::move(identity);
  auto ticket = service.driver.submit(std::move(submission));
  if (!ticket) {
    Error error = std::move(ticket).error();
    error.status = request_status(error);
    co_await send_error(exchange, error, dialect.error_text, service.driver.retry_after(key));
    co_return;
  }
  tell_position(exchange, service.driver, **ticket);
  const Answer::Kind kind{ask.stream, ask.render_only, bound->heartbeat};
  Answer answer(service, exchange, *request->form, dialect.error_text, kind, arrived);
  co_await answer.run(**ticket);
}

}  // namespace

void add_request_route(http::Router& router, Service& service, std::string_view path, Dialect dialect) {
  router.add("POST", path,
             [&service, dialect](http::Exchange& exchange) { return serve_request(service, exchange, dialect); });
}

}  // namespace drover::api
