// POST /api/generate and POST /api/chat.
#include <fmt/format.h>

#include "api/error_status.h"
#include "api/generation_request.h"
#include "api/service.h"
#include "base/go_duration.h"

namespace drover::api {
namespace {

std::uint64_t nanoseconds(Duration duration) {
  const auto count = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  return count > 0 ? static_cast<std::uint64_t>(count) : 0;
}

// Writes answers in Ollama's form, field by field in Ollama's order. A stream's lines are put together without a JSON
// tree: they are the hot path.
class AnswerWriter {
 public:
  AnswerWriter(Endpoint endpoint, std::string_view model) : endpoint_(endpoint) {
    opening_ = "{\"model\":";
    append_json_string(opening_, model);
    opening_ += ",\"created_at\":\"";
  }

  // A part of a stream, or, with `end`, the whole of what an object holds before its metrics.
  void begin(std::string& out, const pb::Chunk& chunk) const {
    out += opening_;
    out += timestamp_now();
    out += '"';
    if (endpoint_ == Endpoint::kChat) {
      out += R"(,"message":{"role":"assistant","content":)";
      append_json_string(out, chunk.content());
      append_thinking(out, chunk);
      append_tool_calls(out, chunk);
      out += '}';
    } else {
      out += ",\"response\":";
      append_json_string(out, chunk.content());
      append_thinking(out, chunk);
      append_tool_calls(out, chunk);
    }
    append_logprobs(out, chunk);
  }

  void line(std::string& out, const pb::Chunk& chunk) const {
    begin(out, chunk);
    out += ",\"done\":false}\n";
  }

  static void done(std::string& out, std::string_view reason) {
    out += R"(,"done":true,"done_reason":)";
    append_json_string(out, reason);
  }

 private:
  static void append_thinking(std::string& out, const pb::Chunk& chunk) {
    if (chunk.thinking().empty()) return;
    out += ",\"thinking\":";
    append_json_string(out, chunk.thinking());
  }

  static void append_tool_calls(std::string& out, const pb::Chunk& chunk) {
    if (chunk.tool_calls().empty()) return;
    out += ",\"tool_calls\":[";
    for (int i = 0; i < chunk.tool_calls_size(); ++i) {
      const pb::ToolCall& call = chunk.tool_calls(i);
      out += i > 0 ? ",{\"id\":" : "{\"id\":";
      append_json_string(out, call.id());
      fmt::format_to(std::back_inserter(out), R"(,"function":{{"index":{},"name":)", i);
      append_json_string(out, call.name());
      out += ",\"arguments\":";
      // Arguments are JSON that a model wrote; what is no object must not break the line.
      const Json arguments = Json::parse(call.arguments_json(), nullptr, false);
      out += arguments.is_object() ? arguments.dump(-1, ' ', false, Json::error_handler_t::replace) : "{}";
      out += "}}";
    }
    out += ']';
  }

  static void append_logprob(std::string& out, const pb::TokenLogprob& from) {
    const std::string text = Json(from.token()).dump(-1, ' ', false, Json::error_handler_t::replace);
    fmt::format_to(std::back_inserter(out), R"({{"token":{},"logprob":{},"bytes":[)", text, from.logprob());
    for (std::size_t i = 0; i < from.token().size(); ++i) {
      if (i > 0) out += ',';
      out += std::to_string(static_cast<unsigned char>(from.token()[i]));
    }
    out += ']';
  }

  static void append_logprobs(std::string& out, const pb::Chunk& chunk) {
    if (chunk.logprobs().empty()) return;
    out += ",\"logprobs\":[";
    for (int i = 0; i < chunk.logprobs_size(); ++i) {
      if (i > 0) out += ',';
      append_logprob(out, chunk.logprobs(i));
      if (chunk.logprobs(i).top_size() > 0) {
        out += ",\"top_logprobs\":[";
        for (int k = 0; k < chunk.logprobs(i).top_size(); ++k) {
          if (k > 0) out += ',';
          append_logprob(out, chunk.logprobs(i).top(k));
          out += '}';
        }
        out += ']';
      }
      out += '}';
    }
    out += ']';
  }

  Endpoint endpoint_;
  std::string opening_;
};

// Durations of one request as its client sees them.
struct Timing {
  TimePoint arrived;
  Duration load{};  // queue and load: until the request had its place
};

// Spaces fill the metrics up to this many bytes, so that equal answers have equal lengths whatever their durations:
// load generators such as ab take an answer of another length for a failed one.
constexpr std::size_t kMetricsBytes = 224;

void append_metrics(std::string& out, const Timing& timing, const pb::Finished& finished) {
  const std::size_t start = out.size();
  const auto field = [&](const char* name, std::uint64_t value) {
    if (value > 0) fmt::format_to(std::back_inserter(out), ",\"{}\":{}", name, value);
  };
  field("total_duration", nanoseconds(Clock::now() - timing.arrived));
  field("load_duration", nanoseconds(timing.load));
  field("prompt_eval_count", finished.prompt_tokens());
  field("prompt_eval_cached_count", finished.cached_tokens());
  field("prompt_eval_duration", finished.prompt_ns());
  field("eval_count", finished.output_tokens());
  field("eval_duration", finished.output_ns());
  const std::size_t size = out.size() - start;
  if (size < kMetricsBytes) out.append(kMetricsBytes - size, ' ');
}

void append_end(std::string& out, const Timing& timing, const pb::Finished& finished) {
  AnswerWriter::done(out, finished.reason() == pb::Finished::LENGTH ? "length" : "stop");
  if (finished.context_size() > 0) {
    out += ",\"context\":[";
    for (int i = 0; i < finished.context_size(); ++i) {
      if (i > 0) out += ',';
      out += std::to_string(finished.context(i));
    }
    out += ']';
  }
  append_metrics(out, timing, finished);
  out += "}";
}

void add_to(pb::Chunk& whole, const pb::Chunk& part) {
  whole.mutable_content()->append(part.content());
  whole.mutable_thinking()->append(part.thinking());
  whole.mutable_tool_calls()->MergeFrom(part.tool_calls());
  whole.mutable_logprobs()->MergeFrom(part.logprobs());
}

bool has_output(const pb::Chunk& chunk) {
  return !chunk.content().empty() || !chunk.thinking().empty() || chunk.tool_calls_size() > 0 ||
         chunk.logprobs_size() > 0;
}

// One request from its ticket to its last byte.
class Answer {
 public:
  Answer(http::Exchange& exchange, Endpoint endpoint, const GenerationHead& head, TimePoint arrived)
      : exchange_(exchange), writer_(endpoint, head.model), head_(head), timing_{arrived, {}} {}

  asio::awaitable<void> run(Ticket& ticket) {
    exchange_.on_disconnect([&ticket] { ticket.cancel(); });
    bool more = true;
    while (more) {
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
      co_return true;
    }
    if (auto* chunk = std::get_if<pb::Chunk>(&event)) {
      if (head_.stream) {
        writer_.line(lines_, *chunk);
      } else {
        add_to(whole_, *chunk);
      }
      co_return true;
    }
    if (auto* started = std::get_if<pb::Started>(&event)) {
      if (started->rendered_prompt().empty()) co_return true;
      co_await send_rendered(*started);
      co_return false;
    }
    if (auto* finished = std::get_if<pb::Finished>(&event)) {
      co_await on_finished(*finished);
      co_return false;
    }
    if (std::holds_alternative<EventLoaded>(event)) {
      co_await send_loaded();
      co_return false;
    }
    co_await on_failed(std::get<EventFailed>(event));
    co_return false;
  }

  asio::awaitable<bool> flush() {
    if (!exchange_.begun()) {
      const bool begun = co_await exchange_.begin(200, kNdjsonType);
      if (!begun) co_return false;
    }
    const bool written = co_await exchange_.write(lines_);
    lines_.clear();
    co_return written;
  }

  asio::awaitable<void> on_finished(const pb::Finished& finished) {
    if (head_.stream) {
      if (has_output(finished.last())) writer_.line(lines_, finished.last());
      writer_.begin(lines_, pb::Chunk());
      append_end(lines_, timing_, finished);
      lines_ += '\n';
      const bool written = co_await flush();
      if (written) co_await exchange_.finish();
      co_return;
    }
    add_to(whole_, finished.last());
    std::string text;
    writer_.begin(text, whole_);
    append_end(text, timing_, finished);
    co_await exchange_.send(200, kJsonType, std::move(text));
  }

  asio::awaitable<void> send_loaded() {
    std::string text;
    writer_.begin(text, pb::Chunk());
    AnswerWriter::done(text, "load");
    text += '}';
    co_await exchange_.send(200, kJsonType, std::move(text));
  }

  asio::awaitable<void> send_rendered(const pb::Started& started) {
    Json body = Json::object();
    body["model"] = head_.model;
    body["created_at"] = timestamp_now();
    body["_debug_info"]["rendered_template"] = started.rendered_prompt();
    co_await send_json(exchange_, body);
  }

  asio::awaitable<void> on_failed(EventFailed& failed) {
    if (failed.error.code == ErrorCode::kCanceled && exchange_.disconnected()) co_return;
    if (!exchange_.begun()) {
      co_await send_error(exchange_, failed.error, 0, failed.retry_after);
      co_return;
    }
    lines_ += "{\"error\":";
    append_json_string(lines_, failed.error.message);
    lines_ += "}\n";
    const bool written = co_await flush();
    if (written) co_await exchange_.finish();
  }

  http::Exchange& exchange_;
  AnswerWriter writer_;
  const GenerationHead& head_;
  Timing timing_;
  pb::Chunk whole_;    // not streaming: all so far
  std::string lines_;  // streaming: not yet written
};

std::string client_of(const http::Exchange& exchange) {
  const std::string_view key = exchange.header("Authorization");
  if (!key.empty()) return "key " + std::string(key);
  const std::string_view id = exchange.header("X-Client-Id");
  if (!id.empty()) return "id " + std::string(id.substr(0, 256));
  return std::string(exchange.remote_address());
}

// Headers that say how to queue. Error: kInvalidArgument.
Result<void> read_queueing(const http::Exchange& exchange, Submission& into) {
  into.client = client_of(exchange);
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

// What a body asks for, once everything that can be wrong with it has been ruled out.
struct Asked {
  GenerationHead head;
  Submission submission;
};

Result<GenerationHead> read_checked_head(Endpoint endpoint, const Json& body) {
  auto head = read_head(endpoint, body);
  if (!head || !head->model.empty()) return head;
  if (endpoint == Endpoint::kChat) return invalid("model is required");
  return model_not_found("");
}

std::variant<Asked, RequestError> read_request(Service& service, const http::Exchange& exchange, Endpoint endpoint,
                                               const Json& body) {
  auto head = read_checked_head(endpoint, body);
  if (!head) return RequestError{head.error(), 0};
  const auto name = ModelName::parse(head->model);
  if (!name) return RequestError{name.error(), 0};
  const auto model = service.store.find(*name);
  if (!model && model.error().code == ErrorCode::kNotFound) return RequestError{model_not_found(head->model), 0};
  if (!model) return RequestError{model.error(), 500};  // what is broken is on our disk, not in the request
  Asked asked;
  asked.submission.target = target_of(*model, (*model)->name.display_shortest(), service.settings);
  if (auto error = read_generation(endpoint, body, **model, asked.submission)) return *error;
  if (auto queueing = read_queueing(exchange, asked.submission); !queueing) return RequestError{queueing.error(), 0};
  asked.submission.keep_alive = head->keep_alive;
  asked.submission.load_only = head->empty;
  asked.submission.streams = head->stream;
  asked.head = std::move(*head);
  return asked;
}

std::string unloaded_answer(Endpoint endpoint, const GenerationHead& head) {
  std::string text;
  AnswerWriter(endpoint, head.model).begin(text, pb::Chunk());
  AnswerWriter::done(text, "unload");
  text += '}';
  return text;
}

asio::awaitable<void> handle(Service& service, http::Exchange& exchange, Endpoint endpoint) {
  const TimePoint arrived = Clock::now();
  std::optional<Json> body = co_await read_json(service, exchange);
  if (!body) co_return;
  auto request = read_request(service, exchange, endpoint, *body);
  body.reset();  // a request that waits should not hold its text twice
  if (const auto* error = std::get_if<RequestError>(&request)) {
    co_await send_error(exchange, error->error, error->status);
    co_return;
  }
  Asked& asked = std::get<Asked>(request);
  if (asked.head.empty && asked.head.keep_alive == Duration::zero()) {
    service.driver.unload(asked.submission.target.key);
    std::string text = unloaded_answer(endpoint, asked.head);
    co_await exchange.send(200, kJsonType, std::move(text));
    co_return;
  }
  const std::string key = asked.submission.target.key;
  auto ticket = service.driver.submit(std::move(asked.submission));
  if (!ticket) {
    const Duration retry_after = service.driver.retry_after(key);
    co_await send_error(exchange, ticket.error(), 0, retry_after);
    co_return;
  }
  Answer answer(exchange, endpoint, asked.head, arrived);
  co_await answer.run(**ticket);
}

}  // namespace

void add_generate_routes(http::Router& router, Service& service) {
  router.add("POST", "/api/generate",
             [&service](http::Exchange& exchange) { return handle(service, exchange, Endpoint::kGenerate); });
  router.add("POST", "/api/chat",
             [&service](http::Exchange& exchange) { return handle(service, exchange, Endpoint::kChat); });
}

}  // namespace drover::api
