#include "http/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cctype>
#include <cstring>
#include <optional>

#include "base/clock.h"
#include "http/connection.h"

namespace drover::http {
namespace {

using asio::ip::tcp;
using boost::system::error_code;
using Stream = asio::generic::stream_protocol;
using Acceptor = asio::basic_socket_acceptor<Stream>;

constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::seconds kAcceptLogInterval{10};
// A client whose machine vanished is noticed after about 15 + 4 * 15 seconds.
constexpr int kKeepAliveSeconds = 15;
constexpr int kKeepAliveProbes = 4;

constexpr std::size_t kUnixPathMax = sizeof(sockaddr_un::sun_path) - 1;

std::string text_of(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  const bool v6 = endpoint.address().is_v6();
  return fmt::format("{}:{}", v6 ? "[" + address + "]" : address, endpoint.port());
}

tcp::endpoint tcp_endpoint(const Stream::endpoint& generic) {
  tcp::endpoint endpoint;
  endpoint.resize(generic.size());
  std::memcpy(endpoint.data(), generic.data(), generic.size());
  return endpoint;
}

// Who a connection is from: the address, or the user at the other end of a Unix socket.
std::string remote_of(StreamSocket& socket, const Stream::endpoint& remote) {
  const int family = remote.protocol().family();
  if (family != AF_INET && family != AF_INET6) {
    ucred peer{};
    socklen_t size = sizeof peer;
    const bool known = getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
    return known ? fmt::format("uid:{}", peer.uid) : "local";
  }
  const asio::ip::address address = tcp_endpoint(remote).address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
  }
  return address.to_string();
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

void set_integer(Acceptor& acceptor, int level, int name, int value) {
  setsockopt(acceptor.native_handle(), level, name, &value, sizeof value);
}

// Accepted sockets take these over from the listening one.
void set_inherited_options(Acceptor& acceptor) {
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
  Acceptor acceptor;
  asio::steady_timer pause;
  TimePoint last_log{};
  std::string path;  // of a Unix socket, removed at the end
};

error_code open(Acceptor& acceptor, const Stream::endpoint& endpoint) {
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (error) return error;
  close_on_exec(acceptor.native_handle());
  return error;
}

error_code bind_and_listen(Acceptor& acceptor, const Stream::endpoint& endpoint) {
  error_code error;
  acceptor.bind(endpoint, error);
  if (error) return error;
  acceptor.listen(asio::socket_base::max_listen_connections, error);
  return error;
}

error_code open_tcp(Listener& listener, const tcp::endpoint& endpoint) {
  Acceptor& acceptor = listener.acceptor;
  error_code error = open(acceptor, endpoint);
  if (error) return error;
  acceptor.set_option(asio::socket_base::reuse_address(true), error);
  // "::" takes IPv4 clients as well.
  if (endpoint.address().is_v6()) acceptor.set_option(asio::ip::v6_only(!endpoint.address().is_unspecified()), error);
  set_inherited_options(acceptor);
  return bind_and_listen(acceptor, endpoint);
}

// A socket's file outlives a server that was killed: it is replaced if nobody answers there.
error_code open_unix(Listener& listener, const asio::local::stream_protocol::endpoint& endpoint) {
  error_code error = open(listener.acceptor, endpoint);
  if (error) return error;
  error = bind_and_listen(listener.acceptor, endpoint);
  if (error != asio::error::address_in_use) return error;
  asio::local::stream_protocol::socket probe(listener.acceptor.get_executor());
  error_code refused;
  probe.connect(endpoint, refused);
  if (refused != asio::error::connection_refused) return error;
  ::unlink(endpoint.path().c_str());
  return bind_and_listen(listener.acceptor, endpoint);
}

void start_connection(StreamSocket socket, const Stream::endpoint& remote, const std::shared_ptr<ServerState>& state) {
  close_on_exec(socket.native_handle());
  std::string remote_address = remote_of(socket, remote);
  const ClientBudget::Place place = state->budget.enter(remote_address);
  if (place == ClientBudget::Place::kNone) {
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::const_buffer(kTooManyConnections.data(), kTooManyConnections.size()), ignored);
    return;
  }
  const auto executor = socket.get_executor();
  auto connection = std::make_unique<Connection>(std::move(socket), std::move(remote_address), place, state);
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
    Stream::endpoint remote;
    StreamSocket socket =
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
    if (error = open_tcp(*listener, endpoint); error) {
      return fail(fmt::format("{}: bind: {}", text_of(endpoint), reason_of(error)));
    }
    if (port_ == 0) port_ = tcp_endpoint(listener->acceptor.local_endpoint(error)).port();
    start(std::move(listener));
    return {};
  }

  Result<void> listen_unix(const std::string& path) {
    const auto fail = [&](const std::string& what) {
      return Error{ErrorCode::kUnavailable, fmt::format("listen unix {}: bind: {}", path, what)};
    };
    if (path.size() > kUnixPathMax) return fail(fmt::format("the path has more than {} bytes", kUnixPathMax));
    auto listener = std::make_shared<Listener>(io_);
    const asio::local::stream_protocol::endpoint endpoint(path);
    if (const error_code error = open_unix(*listener, endpoint); error) return fail(reason_of(error));
    listener->path = path;
    start(std::move(listener));
    return {};
  }

  void stop_listening() {
    state_->stopping = true;
    for (const auto& listener : listeners_) {
      error_code ignored;
      listener->acceptor.close(ignored);
      if (!listener->path.empty()) ::unlink(listener->path.c_str());
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
  void start(std::shared_ptr<Listener> listener) {
    listeners_.push_back(listener);
    asio::co_spawn(io_, accept_connections(std::move(listener), state_), asio::detached);
  }

  asio::io_context& io_;
  const std::shared_ptr<ServerState> state_;
  std::vector<std::shared_ptr<Listener>> listeners_;
  std::uint16_t port_ = 0;
};

Server::Server(asio::io_context& io, Router router, ServerLimits limits, Guard guard)
    : impl_(std::make_unique<Impl>(
          io, ServerState{std::move(router), limits, std::move(guard), ClientBudget(limits), false, {}})) {}

Server::~Server() {
  impl_->stop_listening();
  impl_->close_all();
}

Result<void> Server::listen(const std::string& host, std::uint16_t port) {
  return impl_->listen(host, port);
}
Result<void> Server::listen_unix(const std::string& path) {
  return impl_->listen_unix(path);
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
