#include "http/connection.h"

#include <spdlog/spdlog.h>

#include <array>
#include <exception>
#include <utility>

#include "http/exchange.h"

namespace drover::http {
namespace {

constexpr std::size_t kFirstPart = 4 << 10;
constexpr std::string_view kPlainText = "text/plain";
constexpr std::string_view kJson = "application/json; charset=utf-8";
constexpr std::string_view kInternalError = R"({"error":"internal error"})";

}  // namespace

Connection::Connection(StreamSocket socket, std::string remote_address, ClientBudget::Place place,
                       std::shared_ptr<ServerState> state)
    : state_(std::move(state)),
      socket_(std::make_shared<ClientSocket>(std::move(socket))),
      remote_address_(std::move(remote_address)),
      place_(place) {
  state_->connections.insert(this);
}

Connection::~Connection() {
  state_->connections.erase(this);
  state_->budget.leave(remote_address_, place_);
  socket_->cut(ClientSocket::Cut::kFlush);
}

asio::awaitable<void> Connection::run(std::unique_ptr<Connection> self) {
  if (self->place_ == ClientBudget::Place::kProbe) {
    co_await self->serve_probe();
    if (!self->socket_->lost()) co_await self->socket_->linger(ClientSocket::kRefusal);
    co_return;
  }
  // A client that has just connected has a request to send; one that was answered may take its time.
  TimePoint deadline = deadline_after(self->state_->limits.header_timeout);
  while (true) {
    const bool arrived = co_await self->await_request(deadline);
    if (!arrived) break;
    const bool goes_on = co_await self->serve_request();
    if (!goes_on || self->state_->stopping) break;
    deadline = deadline_after(self->state_->limits.keep_alive_timeout);
  }
  if (!self->socket_->lost() && (self->body_unread_ || self->socket_->unread())) {
    co_await self->socket_->linger(self->upload_ ? ClientSocket::kUpload : ClientSocket::kRefusal);
  }
}

void Connection::close_if_idle() {
  if (idle_ && !socket_->unread()) socket_->cut(ClientSocket::Cut::kFlush);
}

void Connection::cut() {
  socket_->cut(ClientSocket::Cut::kReset);
}

asio::awaitable<bool> Connection::await_request(TimePoint deadline) {
  if (socket_->input().size() > 0) co_return true;
  if (state_->stopping && !socket_->unread()) co_return false;
  idle_ = true;
  const ClientSocket::Fill filled = co_await socket_->fill(kFirstPart, deadline);
  idle_ = false;
  co_return filled == ClientSocket::Fill::kData;
}

asio::awaitable<bool> Connection::serve_request() {
  HttpExchange exchange(*socket_, state_->limits, state_->budget, state_->stopping, remote_address_);
  const bool complete = co_await exchange.read_head();
  if (!complete) {
    body_unread_ = exchange.begun();  // a refusal
    co_return false;
  }
  co_await answer(exchange);
  const bool goes_on = co_await exchange.end();
  body_unread_ = !exchange.body_done();
  upload_ = body_unread_ && !exchange.body_timed_out();
  co_return goes_on;
}

// The server is full: it says whether it lives, and that it is full.
asio::awaitable<void> Connection::serve_probe() {
  static const bool kLast = true;
  ServerLimits limits = state_->limits;
  limits.header_timeout = limits.probe_timeout;
  HttpExchange exchange(*socket_, limits, state_->budget, kLast, remote_address_);
  const bool complete = co_await exchange.read_head();
  if (complete && (exchange.path() == "/healthz" || exchange.path() == "/readyz")) {
    co_await answer(exchange);
  } else if (!socket_->ended() && !exchange.begun()) {
    std::array pieces{asio::const_buffer(kTooManyConnections.data(), kTooManyConnections.size())};
    co_await socket_->write(pieces, limits.probe_timeout);
  }
}

// Runs what answers the request, and makes up for what it leaves out.
asio::awaitable<void> Connection::answer(HttpExchange& exchange) {
  try {
    co_await route(exchange);
    if (!exchange.begun() && !exchange.disconnected()) {
      spdlog::error("{} {}: the handler ended without an answer", exchange.method(), exchange.path());
    }
  } catch (const std::exception& exception) {
    spdlog::error("{} {}: {}", exchange.method(), exchange.path(), exception.what());
  } catch (...) {
    spdlog::error("{} {}: unknown exception", exchange.method(), exchange.path());
  }
  if (!exchange.begun()) {
    std::string body(kInternalError);
    co_await exchange.send(500, kJson, std::move(body), {});
  } else if (!exchange.finished()) {
    exchange.abort();
  }
}

// Where a request belongs whose path has a slash too many at its end, as Ollama's router says it; empty: where it is.
std::string Connection::location_of(const HttpExchange& exchange) const {
  std::string_view path = exchange.path();
  if (!path.ends_with('/')) return {};
  const auto own = state_->router.find(exchange.method(), path);
  if (own.handler != nullptr && own.parameters.empty()) return {};  // a route of that very name
  path.remove_suffix(1);
  // "//host" would lead elsewhere.
  if (!path.starts_with('/') || path.starts_with("//")) return {};
  return state_->router.find(exchange.method(), path).handler != nullptr ? exchange.target_without_slash() : "";
}

asio::awaitable<void> Connection::route(HttpExchange& exchange) {
  if (state_->guard) {
    const bool allowed = co_await state_->guard(exchange);
    if (!allowed) co_return;
  }
  if (std::string location = location_of(exchange); !location.empty()) {
    exchange.add_header("Location", std::move(location));
    co_await exchange.send(exchange.method() == "GET" ? 301 : 307, kPlainText, "", {});
    co_return;
  }
  Router::Match match = state_->router.find(exchange.method(), exchange.path());
  if (match.handler != nullptr) {
    exchange.set_parameters(std::move(match.parameters));
    co_await (*match.handler)(exchange);
    co_return;
  }
  const bool known = !match.allowed.empty();
  if (known) exchange.add_header("Allow", std::move(match.allowed));
  std::string body = known ? "405 method not allowed" : "404 page not found";
  co_await exchange.send(known ? 405 : 404, kPlainText, std::move(body), {});
}

}  // namespace drover::http
