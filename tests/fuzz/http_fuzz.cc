// HTTP over a connection: whatever comes is answered or refused, one answer a request, and nothing of it is kept.
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <chrono>
#include <string>

#include "fuzz.h"
#include "http/connection.h"

namespace {

namespace asio = boost::asio;
using drover::http::Exchange;

constexpr std::size_t kBodyBytesMax = 2000;

asio::awaitable<void> echo(Exchange& exchange) {
  auto body = co_await exchange.read_body(kBodyBytesMax);
  const int status = body ? 200 : 400;
  std::string text = body ? std::move(*body) : std::string();
  expect(text.size() <= kBodyBytesMax, "a body has a bound");
  co_await exchange.send(status, "text/plain", std::move(text));
}

// Reads as uploads are read, and answers as streams are.
asio::awaitable<void> stream(Exchange& exchange) {
  bool gone = false;
  exchange.on_disconnect([&gone] { gone = true; });
  co_await exchange.begin(200, "application/x-ndjson");
  std::array<char, 64> part;
  while (!gone) {
    const auto got = co_await exchange.read_some_body(part);
    if (!got || *got == 0) break;
    const std::string piece = std::to_string(*got) + "\n";
    const bool sent = co_await exchange.write(piece);
    if (!sent) co_return;
  }
  co_await exchange.finish();
}

asio::awaitable<void> ignore(Exchange& exchange) {
  co_await exchange.send(204, "", "");
}

drover::http::Router routes() {
  drover::http::Router router;
  router.add("POST", "/e", echo);
  router.add("GET", "/e", echo);
  router.add("POST", "/s", stream);
  router.add("POST", "/i/:name", ignore);
  return router;
}

std::shared_ptr<drover::http::ServerState> make_state() {
  drover::http::ServerLimits limits;
  limits.header_bytes_max = 4096;
  limits.bodies_bytes_per_client_max = 6000;
  return std::make_shared<drover::http::ServerState>(
      drover::http::ServerState{routes(), limits, {}, drover::http::ClientBudget(limits), false, {}});
}

void read_all(int socket, std::string& into) {
  std::array<char, 65536> part;
  for (ssize_t got = 0; (got = ::recv(socket, part.data(), part.size(), MSG_DONTWAIT)) > 0;) {
    into.append(part.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static asio::io_context io(1);
  static const auto state = make_state();
  static const std::string address = "uid:1";
  std::array<int, 2> ends{};
  expect(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0, "there are sockets");
  // In two parts, so that the server sees a beginning alone.
  const std::string_view text = text_of(data, size);
  const std::size_t first = size > 0 ? data[0] * size / 256 : 0;
  expect(::send(ends[0], text.data(), first, 0) == static_cast<ssize_t>(first), "there is room for the input");

  drover::http::StreamSocket socket(io);
  socket.assign(asio::generic::stream_protocol(AF_UNIX, 0), ends[1]);
  const auto place = state->budget.enter(address);
  auto connection = std::make_unique<drover::http::Connection>(std::move(socket), address, place, state);
  asio::co_spawn(io, drover::http::Connection::run(std::move(connection)), asio::detached);
  io.restart();
  io.poll();
  (void)!::send(ends[0], text.data() + first, size - first, MSG_NOSIGNAL);  // the server may have had enough
  ::shutdown(ends[0], SHUT_WR);
  std::string answers;
  while (!state->connections.empty()) {
    io.restart();
    io.run_one_for(std::chrono::milliseconds(10));
    read_all(ends[0], answers);
  }
  read_all(ends[0], answers);
  ::close(ends[0]);
  io.restart();
  io.poll();
  expect(answers.empty() || answers.starts_with("HTTP/1."), "an answer is HTTP");
  expect(state->budget.addresses() == 0, "what was taken is given back");
  return 0;
}
