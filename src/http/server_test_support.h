// For the server's tests: a server on a thread of its own, and a client that is as rude as a test needs.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>

#include "base/clock.h"
#include "http/server.h"

namespace drover::http {

using namespace std::chrono_literals;

// Anything that takes longer than this has failed. Only what hangs gets there, on a busy machine and under a sanitizer
// too: no test depends on how fast something comes.
inline constexpr auto kPatience = 300s;
inline constexpr int kPatienceMs = std::chrono::milliseconds(kPatience).count();

class TestServer {
 public:
  explicit TestServer(Router router, ServerLimits limits = {}, Server::Guard guard = {})
      : server_(std::make_unique<Server>(io_, std::move(router), limits, std::move(guard))) {
    const Result<void> listening = server_->listen("127.0.0.1", 0);
    EXPECT_TRUE(listening.ok());
    port_ = server_->port();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~TestServer() {
    on_io([this] { server_.reset(); });
    work_.reset();
    thread_.join();
  }

  std::uint16_t port() const { return port_; }
  // Runs f on the I/O thread and gives back what it returns.
  template <typename F>
  std::invoke_result_t<F> on_io(F f) {
    std::packaged_task<std::invoke_result_t<F>()> task(std::move(f));
    auto result = task.get_future();
    asio::post(io_, [&task] { task(); });
    return result.get();
  }
  std::size_t connections() {
    return on_io([this] { return server_->connections(); });
  }
  bool wait_for_connections(std::size_t count) {
    const TimePoint give_up = Clock::now() + kPatience;
    while (Clock::now() < give_up) {
      if (connections() == count) return true;
      std::this_thread::sleep_for(1ms);
    }
    return false;
  }
  Server& server() { return *server_; }  // only within on_io()

 private:
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
  std::unique_ptr<Server> server_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

struct Response {
  int status = 0;  // 0: there was none
  std::string head;
  std::string body;
  bool complete = false;  // the body came to the end that its head announces

  std::string header(std::string_view name) const {
    const std::string key = "\r\n" + std::string(name) + ": ";
    const auto at = head.find(key);
    if (at == std::string::npos) return {};
    return head.substr(at + key.size(), head.find("\r\n", at + 2) - at - key.size());
  }
};

class TestClient {
 public:
  TestClient() : descriptor_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  // From another address of this machine.
  explicit TestClient(const char* from) : TestClient() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    EXPECT_EQ(inet_pton(AF_INET, from, &address.sin_addr), 1);
    EXPECT_EQ(::bind(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  explicit TestClient(std::uint16_t port) : TestClient() { EXPECT_TRUE(connect(port)); }
  explicit TestClient(TestServer& server) : TestClient(server.port()) {}
  ~TestClient() { close(); }
  TestClient(TestClient&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  TestClient& operator=(TestClient&&) = delete;

  bool connect(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return ::connect(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  void set_receive_buffer(int bytes) { setsockopt(descriptor_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes); }

  // False: the server does not take it.
  bool send(std::string_view text) {
    while (!text.empty()) {
      pollfd waiting{descriptor_, POLLOUT, 0};
      if (poll(&waiting, 1, kPatienceMs) != 1) return false;
      const ssize_t sent = ::send(descriptor_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  void send_urgent(char byte) { EXPECT_EQ(::send(descriptor_, &byte, 1, MSG_OOB | MSG_NOSIGNAL), 1); }
  void shutdown_send() { shutdown(descriptor_, SHUT_WR); }
  void close() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }
  void reset() {
    const linger at_once{1, 0};
    setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
  }

  Response get(std::string_view path) {
    send("GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    return read_response();
  }
  Response read_response(bool without_body = false) {
    Response response;
    while (received_.find("\r\n\r\n") == std::string::npos) {
      if (!receive()) return response;
    }
    const auto end = received_.find("\r\n\r\n") + 4;
    response.head = received_.substr(0, end);
    received_.erase(0, end);
    response.status = std::atoi(response.head.c_str() + std::strlen("HTTP/1.1 "));
    if (without_body || response.status < 200 || response.status == 204) {
      response.complete = true;
    } else if (response.header("Transfer-Encoding") == "chunked") {
      read_chunks(response);
    } else if (const std::string length = response.header("Content-Length"); !length.empty()) {
      response.complete = read_exactly(std::stoul(length), response.body);
    } else {
      response.body = read_to_end();
      response.complete = !was_reset_;
    }
    return response;
  }
  // What the server sends until it closes.
  std::string read_to_end() {
    while (receive()) {
    }
    return std::exchange(received_, {});
  }
  bool closed_by_server() { return read_to_end().empty() && at_end_; }
  bool was_reset() const { return was_reset_; }
  // Whether something is there to read, or an end, within the time.
  bool readable(std::chrono::milliseconds within) {
    pollfd waiting{descriptor_, POLLIN, 0};
    return !received_.empty() || poll(&waiting, 1, static_cast<int>(within.count())) == 1;
  }

 private:
  bool receive() {
    char buffer[65536];
    pollfd waiting{descriptor_, POLLIN, 0};
    if (poll(&waiting, 1, kPatienceMs) != 1) return false;
    const ssize_t got = recv(descriptor_, buffer, sizeof buffer, 0);
    if (got > 0) received_.append(buffer, static_cast<std::size_t>(got));
    if (got <= 0) at_end_ = true;
    if (got < 0) was_reset_ = true;
    return got > 0;
  }
  bool read_exactly(std::size_t bytes, std::string& into) {
    while (received_.size() < bytes) {
      if (!receive()) return false;
    }
    into += received_.substr(0, bytes);
    received_.erase(0, bytes);
    return true;
  }
  void read_chunks(Response& response) {
    while (true) {
      while (received_.find("\r\n") == std::string::npos) {
        if (!receive()) return;
      }
      const auto size = std::stoul(received_, nullptr, 16);
      received_.erase(0, received_.find("\r\n") + 2);
      std::string line_end;
      if (!read_exactly(size, response.body) || !read_exactly(2, line_end)) return;
      EXPECT_EQ(line_end, "\r\n");
      if (size == 0) {
        response.complete = true;
        return;
      }
    }
  }

  int descriptor_;
  std::string received_;
  bool at_end_ = false;
  bool was_reset_ = false;
};

// ---- what the tests of clients and of limits share

// A handler that waits as a request in the queue does, until its client leaves or the test lets it answer.
class Waiting {
 public:
  asio::awaitable<void> handle(Exchange& exchange) {
    ++begun;
    const Result<std::string> body = co_await exchange.read_body(1 << 20);
    if (!body) {
      ++body_errors;
      co_return;
    }
    asio::steady_timer answer(co_await asio::this_coro::executor, kNever);
    answer_ = &answer;
    exchange.on_disconnect([this, &answer] {
      ++disconnects;
      answer.cancel();
    });
    ++waiting;
    boost::system::error_code ignored;
    co_await answer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    answer_ = nullptr;
    --waiting;
    seen_gone = exchange.disconnected();
    if (!seen_gone) co_await exchange.send(200, "text/plain", "waited " + *body);
    ++ended;
  }
  // On the I/O thread.
  void let_answer() {
    if (answer_ != nullptr) answer_->cancel();
  }

  std::atomic<int> begun = 0;
  std::atomic<int> waiting = 0;
  std::atomic<int> disconnects = 0;
  std::atomic<int> ended = 0;
  std::atomic<int> body_errors = 0;
  std::atomic<bool> seen_gone = false;

 private:
  asio::steady_timer* answer_ = nullptr;
};

template <typename Predicate>
bool becomes_true(Predicate predicate) {
  const TimePoint give_up = Clock::now() + kPatience;
  while (!predicate() && Clock::now() < give_up) std::this_thread::sleep_for(1ms);
  return predicate();
}

template <typename T>
bool becomes(const std::atomic<T>& value, T wanted) {
  return becomes_true([&] { return value == wanted; });
}

// Waits until the server's thread, asked again and again, has had nothing to do that changes the value.
template <typename T>
bool comes_to_rest(TestServer& server, const std::atomic<T>& value) {
  T last = value;
  int still = 0;
  return becomes_true([&] {
    server.on_io([] {});
    still = value == last ? still + 1 : 0;
    last = value;
    return still > 200;
  });
}

inline Router router_of(Waiting& waiting) {
  Router router;
  router.add("POST", "/wait", [&waiting](Exchange& exchange) { return waiting.handle(exchange); });
  router.add("GET", "/wait", [&waiting](Exchange& exchange) { return waiting.handle(exchange); });
  router.add("GET", "/hello",
             [](Exchange& exchange) -> asio::awaitable<void> { co_await exchange.send(200, "text/plain", "hello"); });
  return router;
}

inline const std::string kWait = "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
inline const std::string kHello = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

// What this process has in memory.
inline std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace drover::http
