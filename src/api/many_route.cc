#include "api/many_route.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <exception>
#include <iterator>
#include <memory>

#include "api/service.h"
#include "base/check.h"

namespace drover::api {
namespace {

constexpr std::size_t kManyMax = 64;
constexpr std::size_t kBodyBytesMax = 1 << 20;
constexpr std::string_view kGeneratePath = "/api/generate";
constexpr std::string_view kChatPath = "/api/chat";
// What may lie here for a client that reads slowly; then those that answer wait.
constexpr std::size_t kPendingBytesMax = 256 << 10;

// Headers of the one request that count for each of the many.
constexpr std::string_view kSharedHeaders[] = {"Authorization",       "x-api-key",  "X-Client-Id",
                                               "X-OpenWebUI-User-Id", "X-Priority", "X-Request-Timeout"};

class Part;

// One client's many, from the request to the last line. I/O thread.
struct Many {
  Many(http::Exchange& one, asio::any_io_executor executor)
      : exchange(one),
        wake(executor, asio::steady_timer::time_point::max()),
        room(executor, asio::steady_timer::time_point::max()) {}

  http::Exchange& exchange;
  asio::steady_timer wake;  // never expires; cancelled when there is something to write, and when a part ends
  asio::steady_timer room;  // never expires; cancelled when what was pending has been written
  std::string body;         // of each part
  std::string body_length;  // as its header says it
  std::string pending;      // whole lines, not yet written
  std::vector<std::unique_ptr<Part>> parts;
  std::size_t running = 0;
  bool gone = false;  // the client is
};

// One of the many as its handler sees it: a request and its answer. The answer's lines leave with the part's number.
class Part final : public http::Exchange {
 public:
  // `path`: the route of the one request; it outlives the part.
  Part(Many& many, std::size_t index, std::string id, std::string_view path)
      : many_(many), index_(index), id_(std::move(id)), path_(path) {}

  // The client is gone.
  void leave() {
    if (const auto callback = std::exchange(on_disconnect_, nullptr)) (*callback)();
  }
  // The handler is done.
  void end() {
    on_disconnect_ = nullptr;
    line(R"("end":true)");
  }

  std::string_view method() const override { return "POST"; }
  std::string_view path() const override { return path_; }
  std::string_view query(std::string_view) const override { return {}; }
  std::string_view parameter(std::string_view) const override { return {}; }
  std::string_view remote_address() const override { return many_.exchange.remote_address(); }
  std::string_view header(std::string_view name) const override {
    if (name == "X-Request-Id") return id_;
    if (name == "Content-Length") return many_.body_length;
    const bool shared =
        std::find(std::begin(kSharedHeaders), std::end(kSharedHeaders), name) != std::end(kSharedHeaders);
    return shared ? many_.exchange.header(name) : std::string_view();
  }

  asio::awaitable<Result<std::string>> read_body(std::size_t bytes_max) override {
    if (many_.body.size() > bytes_max) co_return Error{ErrorCode::kTooLarge, "http: request body too large"};
    if (const auto held = hold(many_.body.size()); !held) co_return held.error();
    co_return many_.body;
  }
  asio::awaitable<Result<std::size_t>> read_some_body(std::span<char>) override { co_return std::size_t{0}; }
  Result<void> hold(std::size_t bytes) override { return many_.exchange.hold(bytes); }

  void add_header(std::string, std::string) override {}

  // A whole answer: an error, as a rule. It is JSON.
  asio::awaitable<bool> send(int status, std::string_view, std::string body, http::Headers headers) override {
    begun_ = true;
    std::string retry_after;
    for (const auto& [name, value] : headers) {
      if (name == "Retry-After") retry_after = fmt::format("\"retry_after\":{},", value);
    }
    line(fmt::format("\"status\":{},{}\"item\":{}", status, retry_after, body));
    co_return !many_.gone;
  }

  asio::awaitable<bool> begin(int, std::string_view, http::Headers) override {
    begun_ = true;
    co_return !many_.gone;
  }

  // Pieces of Ollama's streams hold whole lines.
  asio::awaitable<bool> write(std::string_view piece) override {
    while (!piece.empty()) {
      const auto end = std::min(piece.find('\n'), piece.size());
      const std::string_view item = piece.substr(0, end);
      if (!item.empty()) line(fmt::format("\"item\":{}", item));
      piece.remove_prefix(std::min(end + 1, piece.size()));
    }
    while (!many_.gone && many_.pending.size() > kPendingBytesMax) {
      boost::system::error_code woken;
      co_await many_.room.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    }
    co_return !many_.gone;
  }

  asio::awaitable<bool> finish() override { co_return !many_.gone; }
  void abort() override {}
  bool begun() const override { return begun_; }

  void on_disconnect(std::function<void()> callback) override {
    on_disconnect_ = callback ? std::make_shared<std::function<void()>>(std::move(callback)) : nullptr;
    if (!on_disconnect_ || !many_.gone) return;
    // Never from within this call. What was set is dropped if the handler returns first.
    asio::post(many_.wake.get_executor(), [weak = std::weak_ptr(on_disconnect_)] {
      if (const auto still = weak.lock()) (*still)();
    });
  }
  bool disconnected() const override { return many_.gone || many_.exchange.disconnected(); }

 private:
  void line(std::string_view members) {
    if (many_.gone) return;
    fmt::format_to(std::back_inserter(many_.pending), "{{\"index\":{},{}}}\n", index_, members);
    many_.wake.cancel();
  }

  Many& many_;
  const std::size_t index_;
  const std::string id_;
  const std::string_view path_;
  bool begun_ = false;
  std::shared_ptr<std::function<void()>> on_disconnect_;
};

asio::awaitable<void> run_part(std::shared_ptr<Many> many, std::size_t index, http::Handler handler) {
  Part& part = *many->parts[index];
  try {
    co_await handler(part);
  } catch (const std::exception& exception) {
    spdlog::error("POST /ui/many: {}", exception.what());
  }
  part.end();
  --many->running;
  many->wake.cancel();
}

void leave(Many& many) {
  many.gone = true;
  many.pending.clear();
  for (const auto& part : many.parts) part->leave();
  many.room.cancel();
  many.wake.cancel();
}

// Writes what the parts have to say until all of them have ended.
asio::awaitable<void> write_lines(Many& many) {
  while (many.running > 0 || !many.pending.empty()) {
    if (many.pending.empty()) {
      boost::system::error_code woken;
      co_await many.wake.async_wait(asio::redirect_error(asio::use_awaitable, woken));
      continue;
    }
    const std::string lines = std::exchange(many.pending, {});
    const bool written = co_await many.exchange.write(lines);
    many.room.cancel();
    if (!written && !many.gone) leave(many);
  }
}

struct Asked {
  std::vector<std::string> ids;
  bool chats = false;
  std::string body;
};

// What the many may ask.
struct Handlers {
  http::Handler generate;
  http::Handler chat;
};

Result<Asked> read_asked(const Json& json) {
  Fields fields(json, "ManyRequest");
  Asked asked;
  asked.ids = fields.texts("ids");
  const Json* request = fields.object("request");
  if (fields.error()) return *fields.error();
  if (request == nullptr) return invalid("request is required");
  if (asked.ids.empty() || asked.ids.size() > kManyMax) return invalid(fmt::format("ids takes 1 to {}", kManyMax));
  asked.chats = request->contains("messages");
  asked.body = to_text(*request);
  return asked;
}

asio::awaitable<Result<Asked>> read_request(http::Exchange& exchange) {
  const Result<std::string> text = co_await exchange.read_body(kBodyBytesMax);
  if (!text) co_return body_error(text.error());
  const Result<Json> json = parse_json(*text);
  if (!json) co_return json.error();
  co_return read_asked(*json);
}

asio::awaitable<void> answer_many(const Handlers& handlers, http::Exchange& exchange) {
  Result<Asked> asked = co_await read_request(exchange);
  if (!asked) {
    co_await send_error(exchange, asked.error());
    co_return;
  }
  if (const auto held = exchange.hold(asked->body.size()); !held) {
    co_await send_error(exchange, held.error());
    co_return;
  }
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  const auto many = std::make_shared<Many>(exchange, executor);
  many->body = std::move(asked->body);
  many->body_length = std::to_string(many->body.size());
  const http::Handler& handler = asked->chats ? handlers.chat : handlers.generate;
  const std::string_view path = asked->chats ? kChatPath : kGeneratePath;
  for (std::string& id : asked->ids) {
    many->parts.push_back(std::make_unique<Part>(*many, many->parts.size(), std::move(id), path));
  }
  const bool begun = co_await exchange.begin(200, kNdjsonType);
  if (!begun) co_return;
  exchange.on_disconnect([&many = *many] { leave(many); });
  many->running = many->parts.size();
  for (std::size_t i = 0; i < many->parts.size(); ++i) {
    asio::co_spawn(executor, run_part(many, i, handler), asio::detached);
  }
  co_await write_lines(*many);
  if (!many->gone) co_await exchange.finish();
}

}  // namespace

void add_many_route(http::Router& router) {
  const http::Handler* generate = router.find("POST", kGeneratePath).handler;
  const http::Handler* chat = router.find("POST", kChatPath).handler;
  DROVER_CHECK(generate != nullptr && chat != nullptr);
  const auto handlers = std::make_shared<const Handlers>(Handlers{*generate, *chat});
  router.add("POST", "/ui/many", [handlers](http::Exchange& exchange) { return answer_many(*handlers, exchange); });
}

}  // namespace drover::api
