#include "api/generate_routes.h"

#include <fmt/format.h>

#include "api/answer_parts.h"
#include "api/error_status.h"
#include "api/ollama_answer.h"
#include "api/request_identity.h"
#include "base/go_duration.h"
#include "fleet/ticket.h"

namespace drover::api {
namespace {

constexpr Duration kHeartbeatMin = std::chrono::seconds(1);

bool has_output(const pb::Chunk& chunk) {
  return !chunk.content().empty() || !chunk.thinking().empty() || chunk.tool_calls_size() > 0 ||
         chunk.logprobs_size() > 0;
}

// One request from its ticket to its last byte.
class Answer {
 public:
  struct Kind {
    bool stream = false;
    bool render_only = false;
    Duration heartbeat{};  // silence after which a stream gets one; zero: never
  };

  Answer(http::Exchange& exchange, AnswerForm& form, ErrorText error_text, Kind kind, TimePoint arrived)
      : exchange_(exchange), form_(form), error_text_(error_text), kind_(kind), timing_{arrived, {}, {}} {}

  asio::awaitable<void> run(Ticket& ticket) {
    exchange_.on_disconnect([&ticket] { ticket.cancel(); });
    const bool beats = kind_.stream && kind_.heartbeat > Duration::zero();
    silent_until_ = timing_.arrived + std::min(kHeadersDelay, kind_.heartbeat);
    bool more = true;
    while (more) {
      if (beats && !ticket.ready()) {
        const bool ready = co_await ticket.wait(silent_until_);
        if (!ready) {
          more = co_await beat();
          continue;
        }
      }
      RequestEvent event = co_await ticket.next();
      more = co_await on_event(event);
      // What has come in the meantime leaves in one piece.
      if (more && !ticket.ready() && !lines_.empty()) more = co_await flush();
    }
  }

 private:
  asio::awaitable<bool> on_event(RequestEvent& event) {
    if (auto* dispatched = std::get_if<EventDispatched>(&event)) {
      timing_.load = dispatched->waited;
      timing_.queue = dispatched->queued;
      co_return true;
    }
    if (auto* chunk = std::get_if<pb::Chunk>(&event)) {
      if (kind_.stream) {
        form_.part(lines_, *chunk);
      } else {
        add_to(whole_, *chunk);
      }
      co_return true;
    }
    if (auto* started = std::get_if<pb::Started>(&event)) co_return co_await on_started(*started);
    if (auto* finished = std::get_if<pb::Finished>(&event)) {
      co_await on_finished(*finished);
      co_return false;
    }
    if (std::holds_alternative<EventLoaded>(event)) {
      const pb::Finished nothing;
      const Ending ending{"load", nothing, timing_};
      std::string text = form_.whole(whole_, ending);
      co_await exchange_.send(200, kJsonType, std::move(text));
      co_return false;
    }
    co_await on_failed(std::get<EventFailed>(event));
    co_return false;
  }

  void tell_what_was_dropped(const pb::Started& started) {
    if (std::exchange(told_dropped_, true) || started.dropped_messages() + started.dropped_tokens() == 0) return;
    exchange_.add_header("X-Prompt-Truncated", started.dropped_messages() > 0
                                                   ? fmt::format("{} messages", started.dropped_messages())
                                                   : fmt::format("{} tokens", started.dropped_tokens()));
  }

  asio::awaitable<bool> begin() {
    if (exchange_.begun()) co_return true;
    http::Headers headers;
    std::string_view type = kNdjsonType;
    if (form_.event_stream()) {
      type = kEventStreamType;
      headers.emplace_back("Cache-Control", "no-cache");
      headers.emplace_back("X-Accel-Buffering", "no");  // nginx hands each piece on as it comes
    }
    co_return co_await exchange_.begin(200, type, std::move(headers));
  }

  asio::awaitable<bool> flush() {
    const bool begun = co_await begin();
    if (!begun) co_return false;
    const bool written = co_await exchange_.write(lines_);
    lines_.clear();
    if (kind_.heartbeat > Duration::zero()) silent_until_ = Clock::now() + kind_.heartbeat;
    co_return written;
  }

  // The stream has been silent for long enough: its head says that the request was taken in, a heartbeat that it lives.
  asio::awaitable<bool> beat() {
    if (exchange_.begun()) {
      form_.heartbeat(lines_);
      co_return co_await flush();
    }
    silent_until_ = Clock::now() + kind_.heartbeat;
    co_return co_await begin();
  }

  asio::awaitable<bool> on_started(const pb::Started& started) {
    if (!exchange_.begun()) tell_what_was_dropped(started);
    if (kind_.render_only) {
      std::string text = form_.rendered(started);
      co_await exchange_.send(200, kJsonType, std::move(text));
      co_return false;
    }
    // A request that is replayed on another runner starts again.
    if (!kind_.stream || std::exchange(opened_, true)) co_return true;
    form_.opening(lines_, started.prompt_tokens());
    if (form_.event_stream()) co_return co_await begin();
    co_return true;
  }

  asio::awaitable<void> on_finished(const pb::Finished& finished) {
    const Ending ending{finished.reason() == pb::Finished::LENGTH ? "length" : "stop", finished, timing_};
    if (kind_.stream) {
      if (has_output(finished.last())) form_.part(lines_, finished.last());
      form_.ending(lines_, ending);
      const bool written = co_await flush();
      if (written) co_await exchange_.finish();
      co_return;
    }
    add_to(whole_, finished.last());
    std::string text = form_.whole(whole_, ending);
    co_await exchange_.send(200, kJsonType, std::move(text));
  }

  asio::awaitable<void> on_failed(EventFailed& failed) {
    if (failed.error.code == ErrorCode::kCanceled && exchange_.disconnected()) co_return;
    if (!exchange_.begun()) {
      co_await send_error(exchange_, failed.error, request_status(failed.error.code), failed.retry_after, error_text_);
      co_return;
    }
    form_.failure(lines_, shown_error(failed.error), request_status(failed.error.code));
    const bool written = co_await flush();
    if (written) co_await exchange_.finish();
  }

  http::Exchange& exchange_;
  AnswerForm& form_;
  const ErrorText error_text_;
  const Kind kind_;
  Timing timing_;
  bool opened_ = false;
  bool told_dropped_ = false;
  TimePoint silent_until_{};  // with heartbeats: when the next one is due
  pb::Chunk whole_;           // not streaming: all so far
  std::string lines_;         // streaming: not yet written
};

}  // namespace

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

namespace {

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

// What a body asks for, once everything that can be wrong with it has been ruled out.
struct Asked {
  GenerationHead head;
  Duration heartbeat{};
  Submission submission;
  Warnings warnings;
};

Result<GenerationHead> read_checked_head(Endpoint endpoint, const Json& body) {
  auto head = read_head(endpoint, body);
  if (!head || !head->model.empty()) return head;
  if (endpoint == Endpoint::kChat) return invalid("model is required");
  return model_not_found("");
}

std::variant<Asked, RequestError> read_request(Service& service, const http::Exchange& exchange, Endpoint endpoint,
                                               const Translated& request) {
  const Json& body = request.body;
  auto head = read_checked_head(endpoint, body);
  if (!head) return RequestError{head.error(), 0};
  const auto name = ModelName::parse(head->model);
  if (!name) return RequestError{name.error(), 0};
  const auto model = service.store.find(*name);
  if (!model && model.error().code == ErrorCode::kNotFound) return RequestError{model_not_found(head->model), 0};
  // What is broken is on our disk, not in the request.
  if (!model) return RequestError{internal(model.error().message), 500};
  Asked asked;
  asked.submission.target = target_of(*model, (*model)->name.display_shortest(), service.settings);
  // A model of any kind can be unloaded.
  const bool unload = head->empty && head->keep_alive == Duration::zero();
  if (!unload) {
    if (auto error = read_generation(endpoint, body, **model, request.think_rule, service.settings, asked.submission,
                                     asked.warnings)) {
      return *error;
    }
  }
  if (auto queueing = read_queueing(exchange, request.user, asked.submission); !queueing) {
    return RequestError{queueing.error(), 0};
  }
  auto heartbeat = read_heartbeat(exchange, *request.form);
  if (!heartbeat) return RequestError{heartbeat.error(), 0};
  asked.heartbeat = *heartbeat;
  asked.submission.keep_alive = head->keep_alive;
  asked.submission.load_only = head->empty;
  asked.submission.streams = head->stream;
  asked.head = std::move(*head);
  return asked;
}

Result<Translated> translate_ollama(Endpoint endpoint, Json body) {
  const auto model = body.find("model");
  const bool named = model != body.end() && model->is_string();
  auto form = make_ollama_form(endpoint, named ? model->get<std::string>() : std::string());
  return Translated{std::move(body), std::move(form), ThinkRule::kRefuse};
}

asio::awaitable<Result<Translated>> read_translated(Service& service, http::Exchange& exchange,
                                                    const Dialect& dialect) {
  if (dialect.read) co_return co_await dialect.read(exchange);
  auto translate = [how = dialect.translate](Json body) -> Result<Translated> {
    std::string user = user_of(body);
    Result<Translated> result = how(std::move(body));
    if (result) result->user = std::move(user);
    return result;
  };
  co_return co_await read_body_as(service, exchange, std::move(translate));
}

asio::awaitable<void> answer_generation(Service& service, http::Exchange& exchange, Dialect dialect) {
  const TimePoint arrived = Clock::now();
  RequestIdentity identity = identify(exchange);
  Result<Translated> translated = co_await read_translated(service, exchange, dialect);
  if (!translated) {
    service.driver.note_refused(std::move(identity), translated.error());
    co_await send_error(exchange, translated.error(), unread_status(exchange, translated.error()), std::nullopt,
                        dialect.error_text);
    co_return;
  }
  AnswerForm& form = *translated->form;
  const auto read = [&] {
    auto request = read_request(service, exchange, dialect.endpoint, *translated);
    translated->body = nullptr;  // a request that waits should not hold its text twice
    return request;
  };
  std::variant<Asked, RequestError> request;
  if (may_be_long(exchange)) {
    request = co_await on_disk(service, read);
  } else {
    request = read();
  }
  if (const auto* error = std::get_if<RequestError>(&request)) {
    service.driver.note_refused(std::move(identity), error->error);
    // Where Ollama calls a client's mistake its own, its clients expect that; those of other dialects do not.
    const int status = dialect.error_text == ollama_error_text ? error->status : 0;
    co_await send_error(exchange, error->error, status, std::nullopt, dialect.error_text);
    co_return;
  }
  Asked& asked = std::get<Asked>(request);
  translated->warnings.add_all(asked.warnings);
  tell_warnings(translated->warnings, identity, exchange);
  const std::string key = asked.submission.target.key;
  if (asked.head.empty && asked.head.keep_alive == Duration::zero()) {
    service.driver.unload(key);
    service.driver.unload(embedding_key(key));
    const pb::Finished nothing;
    const Timing timing{arrived, {}};
    const Ending ending{"unload", nothing, timing};
    std::string text = form.whole(pb::Chunk(), ending);
    co_await exchange.send(200, kJsonType, std::move(text));
    co_return;
  }
  const Answer::Kind kind{asked.head.stream, asked.submission.work.render_only(), asked.heartbeat};
  identity.client = shown_client(asked.submission.client);
  asked.submission.identity = std::move(identity);
  auto ticket = service.driver.submit(std::move(asked.submission));
  if (!ticket) {
    const Duration retry_after = service.driver.retry_after(key);
    co_await send_error(exchange, ticket.error(), request_status(ticket.error().code), retry_after, dialect.error_text);
    co_return;
  }
  tell_position(exchange, service.driver, **ticket);
  Answer answer(exchange, form, dialect.error_text, kind, arrived);
  co_await answer.run(**ticket);
}

}  // namespace

void add_generation_route(http::Router& router, Service& service, std::string_view path, Dialect dialect) {
  router.add("POST", path,
             [&service, dialect](http::Exchange& exchange) { return answer_generation(service, exchange, dialect); });
}

void add_generate_routes(http::Router& router, Service& service) {
  add_generation_route(
      router, service, "/api/generate",
      {Endpoint::kGenerate, [](Json body) { return translate_ollama(Endpoint::kGenerate, std::move(body)); },
       ollama_error_text});
  add_generation_route(router, service, "/api/chat",
                       {Endpoint::kChat, [](Json body) { return translate_ollama(Endpoint::kChat, std::move(body)); },
                        ollama_error_text});
}

}  // namespace drover::api
