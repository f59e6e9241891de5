#include "http/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cctype>
#include <optional>

#include "base/clock.h"
#include "http/connection.h"

namespace drover::http {
namespace {

using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::seconds kAcceptLogInterval{10};
// A client whose machine vanished is noticed after about 15 + 4 * 15 seconds.
constexpr int kKeepAliveSeconds = 15;
constexpr int kKeepAliveProbes = 4;

constexpr std::string_view kTooMany =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 32\r\n"
    "Retry-After: 1\r\nConnection: close\r\n\r\n{\"error\":\"too many connections\"}";

std::string text_of(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  const bool v6 = endpoint.address().is_v6();
  return fmt::format("{}:{}", v6 ? "[" + address + "]" : address, endpoint.port());
}

// As Go words the system's errors: without the capital.
std::string reason_of(const error_code& error) {
  std::string text = error.message();
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

// A host's address; IPv4 where it has both.
std::optional<asio::ip::address> resolve(asio::io_context& io, const std::string& host, error_code& error) {
  const asio::ip::address numeric = asio::ip::make_address(host, error);
  if (!error) return numeric;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, "", error);
  if (error || found.empty()) return std::nullopt;
  const auto v4 =
      std::find_if(found.begin(), found.end(), [](const auto& entry) { return entry.endpoint().address().is_v4(); });
  return (v4 == found.end() ? *found.begin() : *v4).endpoint().address();
}

void set_integer(tcp::acceptor& acceptor, int level, int name, int value) {
  setsockopt(acceptor.native_handle(), level, name, &value, sizeof value);
}

// Accepted sockets take these over from the listening one.
void set_inherited_options(tcp::acceptor& acceptor) {
  set_integer(acceptor, IPPROTO_TCP, TCP_NODELAY, 1);
  set_integer(acceptor, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_integer(acceptor, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveSeconds);
  set_integer(acceptor, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveSeconds);
  set_integer(acceptor, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
}

// A runner must not hold a client's connection open.
void close_on_exec(int descriptor) {
  fcntl(descriptor, F_SETFD, FD_CLOEXEC);
}

// One address that is listened on. Shared with its coroutine.
struct Listener {
  explicit Listener(asio::io_context& io) : acceptor(io), pause(io) {}
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  TimePoint last_log{};
};

error_code open(Listener& listener, const tcp::endpoint& endpoint) {
  tcp::acceptor& acceptor = listener.acceptor;
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (error) return error;
  close_on_exec(acceptor.native_handle());
  acceptor.set_option(asio::socket_base::reuse_address(true), error);
  // "::" takes IPv4 clients as well.
  if (endpoint.address().is_v6()) acceptor.set_option(asio::ip::v6_only(!endpoint.address().is_unspecified()), error);
  set_inherited_options(acceptor);
  error.clear();
  acceptor.bind(endpoint, error);
  if (error) return error;
  acceptor.listen(asio::socket_base::max_listen_connections, error);
  return error;
}

void start_connection(tcp::socket socket, const tcp::endpoint& remote, const std::shared_ptr<ServerState>& state) {
  close_on_exec(socket.native_handle());
  if (state->connections.size() >= state->limits.connections_max) {
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::const_buffer(kTooMany.data(), kTooMany.size()), ignored);
    return;
  }
  const auto executor = socket.get_executor();
  auto connection = std::make_unique<Connection>(std::move(socket), remote, state);
  asio::co_spawn(executor, Connection::run(std::move(connection)), [](const std::exception_ptr& failure) {
    if (failure) spdlog::error("a connection ended with an exception");
  });
}

// Out of descriptors or memory: connections in progress will give some back.
asio::awaitable<void> pause_accepting(Listener& listener, const error_code& error) {
  const TimePoint now = Clock::now();
  if (now - listener.last_log >= kAcceptLogInterval) {
    listener.last_log = now;
    spdlog::warn("cannot accept connections: {}; trying again", reason_of(error));
  }
  listener.pause.expires_at(now + kAcceptPause);
  error_code ignored;
  co_await listener.pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

asio::awaitable<void> accept_connections(std::shared_ptr<Listener> listener, std::shared_ptr<ServerState> state) {
  while (listener->acceptor.is_open()) {
    error_code error;
    tcp::endpoint remote;
    tcp::socket socket =
        co_await listener->acceptor.async_accept(remote, asio::redirect_error(asio::use_awaitable, error));
    if (!listener->acceptor.is_open()) break;
    if (!error) {
      start_connection(std::move(socket), remote, state);
    } else if (error != asio::error::connection_aborted) {
      co_await pause_accepting(*listener, error);
    }
  }
}

}  // namespace

class Server::Impl {
 public:
  Impl(asio::io_context& io, ServerState state) : io_(io), state_(std::make_shared<ServerState>(std::move(state))) {}

  Result<void> listen(const std::string& host, std::uint16_t port) {
    const auto fail = [&](const std::string& what) { return Error{ErrorCode::kUnavailable, "listen tcp " + what}; };
    error_code error;
    const auto address = resolve(io_, host, error);
    if (!address) return fail(fmt::format("{}:{}: {}", host, port, reason_of(error)));
    const tcp::endpoint endpoint(*address, port);
    auto listener = std::make_shared<Listener>(io_);
    if (error = open(*listener, endpoint); error) {
      return fail(fmt::format("{}: bind: {}", text_of(endpoint), reason_of(error)));
    }
    if (port_ == 0) port_ = listener->acceptor.local_endpoint(error).port();
    listeners_.push_back(listener);
    asio::co_spawn(io_, accept_connections(listener, state_), asio::detached);
    return {};
  }

  void stop_listening() {
    state_->stopping = true;
    for (const auto& listener : listeners_) {
      error_code ignored;
      listener->acceptor.close(ignored);
      listener->pause.cancel();
    }
    listeners_.clear();
    for (Connection* connection : state_->connections) connection->close_if_idle();
  }

  void close_all() {
    for (Connection* connection : state_->connections) connection->cut();
  }

  std::uint16_t port() const { return port_; }
  std::size_t connections() const { return state_->connections.size(); }

 private:
  asio::io_context& io_;
  const std::shared_ptr<ServerState> state_;
  std::vector<std::shared_ptr<Listener>> listeners_;
  std::uint16_t port_ = 0;
};

Server::Server(asio::io_context& io, Router router, ServerLimits limits, Guard guard)
    : impl_(std::make_unique<Impl>(io, ServerState{std::move(router), limits, std::move(guard), false, {}})) {}

Server::~Server() {
  impl_->stop_listening();
  impl_->close_all();
}

Result<void> Server::listen(const std::string& host, std::uint16_t port) {
  return impl_->listen(host, port);
}
std::uint16_t Server::port() const {
  return impl_->port();
}
std::size_t Server::connections() const {
  return impl_->connections();
}
void Server::stop_listening() {
  impl_->stop_listening();
}
void Server::close_all() {
  impl_->close_all();
}

}  // namespace drover::http
