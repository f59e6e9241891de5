// What the API's handlers work with, and the few things that all of them do.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "api/json.h"
#include "base/settings.h"
#include "fleet/fleet.h"
#include "http/content_coding.h"
#include "http/server.h"
#include "store/model_store.h"

namespace drover::api {

namespace asio = boost::asio;

inline constexpr std::string_view kJsonType = "application/json; charset=utf-8";
inline constexpr std::string_view kNdjsonType = "application/x-ndjson";
inline constexpr std::string_view kEventStreamType = "text/event-stream";

// Lives as long as the server. Handlers run on the I/O thread; what blocks on the disk goes to `disk`.
struct Service {
  const Settings& settings;
  ModelStore& store;
  Fleet& driver;
  asio::thread_pool& disk;
};

// Runs `work` on the disk's threads and returns what it returns.
template <typename Work>
asio::awaitable<std::invoke_result_t<Work>> on_disk(Service& service, Work work) {
  using R = std::invoke_result_t<Work>;
  // co_spawn wants a result that can be default-constructed.
  auto run = [](Work inner) -> asio::awaitable<std::optional<R>> { co_return std::optional<R>(inner()); };
  std::optional<R> result = co_await asio::co_spawn(service.disk, run(std::move(work)), asio::use_awaitable);
  co_return std::move(*result);
}

// How the body is compressed. Error: kInvalidArgument with the status 415, and the answer's Accept-Encoding says what
// is taken.
Result<http::ContentCoding> content_coding_of(http::Exchange& exchange);
// An error of reading a body as its client is told it: 408 if the client was too slow.
Error body_error(Error error);

// A longer body is read on the disk's threads: others wait for the I/O thread.
inline constexpr std::size_t kInlineBodyBytesMax = 256 << 10;
// Whether the body may be longer than that, as its head says. What looks at all of it then belongs there too.
bool may_be_long(const http::Exchange& exchange);

// Reads the body as a JSON object and returns what `make`, a function of Json, makes of it: a Result. Both happen off
// the I/O thread if the body is long, or compressed and may become so.
template <typename Make>
asio::awaitable<std::invoke_result_t<Make, Json>> read_body_as(Service& service, http::Exchange& exchange, Make make) {
  using R = std::invoke_result_t<Make, Json>;
  const auto coding = content_coding_of(exchange);
  if (!coding) co_return coding.error();
  const std::size_t bytes_max = service.settings.body_bytes_max;
  Result<std::string> body = co_await exchange.read_body(bytes_max);
  if (!body) co_return body_error(std::move(body).error());
  const bool is_long = body->size() > kInlineBodyBytesMax || *coding != http::ContentCoding::kNone;
  std::size_t decoded_bytes = 0;
  auto work = [text = std::move(*body), coding = *coding, bytes_max, &decoded_bytes,
               make = std::move(make)]() mutable -> R {
    if (coding != http::ContentCoding::kNone) {
      Result<std::string> decoded = http::decode_content(coding, text, bytes_max);
      if (!decoded) return std::move(decoded).error();
      text = std::move(*decoded);
      decoded_bytes = text.size();
    }
    Result<Json> json = parse_json(text);
    if (!json) return std::move(json).error();
    return make(std::move(*json));
  };
  if (!is_long) co_return work();
  R made = co_await on_disk(service, std::move(work));
  if (const auto held = exchange.hold(decoded_bytes); !held) co_return held.error();
  co_return made;
}

// An error's body in one of the dialects: JSON.
using ErrorText = std::string (*)(const Error& error, int status);
std::string ollama_error_text(const Error& error, int status);  // {"error": …}

// `text` with the names of files in the place of absolute paths. "cannot open /srv/m/blobs/x: …" -> "cannot open x: …".
std::string without_paths(std::string_view text);
// An error as clients see it: without the server's paths, which the log keeps.
Error shown_error(const Error& error);

// Reads the body as a JSON object; sends the error itself and returns nullopt if that is not possible.
asio::awaitable<std::optional<Json>> read_json(Service& service, http::Exchange& exchange,
                                               ErrorText error_text = ollama_error_text);

asio::awaitable<bool> send_json(http::Exchange& exchange, const Json& json, int status = 200);
asio::awaitable<bool> send_error(http::Exchange& exchange, const Error& error, ErrorText error_text = ollama_error_text,
                                 std::optional<Duration> retry_after = std::nullopt);

// The model's name in a request: `model`, or `name` as older clients call it.
std::string model_field(Fields& fields);

inline Error model_not_found(std::string_view name) {
  return not_found("model '" + std::string(name) + "' not found");
}

// The name that clients and lists use for a model's capabilities, details and so on.
Json model_details(const Model& model);

// Tokens that a request to the model may hold which says nothing of it: the model's own wish, or the server's default.
int context_of(const Service& service, const Model& model);

// Adds the routes of Ollama's native API.
void add_ollama_routes(http::Router& router, Service& service);
void add_model_routes(http::Router& router, Service& service);
// Adds those of its OpenAI- and Anthropic-compatible faces.
void add_openai_routes(http::Router& router, Service& service);
void add_anthropic_routes(http::Router& router, Service& service);
// Adds the operator routes: GET /api/queue, DELETE /api/requests/:id, GET /metrics.
void add_queue_routes(http::Router& router, Service& service);
void add_metrics_routes(http::Router& router, Service& service);
// Adds the dashboard, a page that uses the routes above: GET /ui.
void add_ui_routes(http::Router& router);

}  // namespace drover::api
