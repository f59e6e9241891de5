// Clients that leave or take their time, and the server's own end. HTTP itself: server_test.cc.
#include <gtest/gtest.h>

#include <atomic>
#include <ctime>
#include <vector>

#include "http/server.h"
#include "http/server_test_support.h"

namespace drover::http {
namespace {

// Behind questions whether the client is still there, however many a slow machine makes of them.
Response answer_to(TestClient& client) {
  Response response = client.read_response();
  while (response.status == 100) response = client.read_response();
  return response;
}

class DisconnectTest : public testing::Test {
 protected:
  void expect_noticed() {
    EXPECT_TRUE(becomes(waiting_.disconnects, 1));
    EXPECT_TRUE(becomes(waiting_.ended, 1));
    EXPECT_TRUE(waiting_.seen_gone);
    EXPECT_TRUE(server_.wait_for_connections(0));
    EXPECT_EQ(waiting_.disconnects, 1);
  }

  Waiting waiting_;
  TestServer server_{router_of(waiting_)};
};

TEST_F(DisconnectTest, AClose) {
  TestClient client(server_);
  client.send(kWait);
  ASSERT_TRUE(becomes(waiting_.waiting, 1));
  client.close();
  expect_noticed();
}

TEST_F(DisconnectTest, AReset) {
  TestClient client(server_);
  client.send(kWait);
  ASSERT_TRUE(becomes(waiting_.waiting, 1));
  client.reset();
  expect_noticed();
}

TEST_F(DisconnectTest, AHalfCloseIsNoEnd) {
  TestClient client(server_);
  client.send(kWait);
  ASSERT_TRUE(becomes(waiting_.waiting, 1));
  client.shutdown_send();
  EXPECT_EQ(client.read_response().status, 100) << "that is how a client is told from one that is gone";
  server_.on_io([this] { waiting_.let_answer(); });
  EXPECT_EQ(answer_to(client).body, "waited hi");
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_EQ(waiting_.disconnects, 0);
}

// What a proxy does that passes ends on: it notices that the client has gone when it cannot pass something on to it.
TEST_F(DisconnectTest, AHalfCloseOfSomebodyInBetweenWhoLeavesLater) {
  TestClient client(server_);
  client.send(kWait);
  ASSERT_TRUE(becomes(waiting_.waiting, 1));
  client.shutdown_send();
  EXPECT_EQ(client.read_response().status, 100);
  EXPECT_EQ(client.read_response().status, 100) << "it is asked again";
  client.close();  // nothing is unread: the server does not hear of it until it asks
  expect_noticed();
}

TEST_F(DisconnectTest, ACloseAfterAHalfClose) {
  TestClient client(server_);
  client.send(kWait);
  ASSERT_TRUE(becomes(waiting_.waiting, 1));
  client.shutdown_send();
  ASSERT_TRUE(client.readable(kPatience));
  client.close();  // with the 100 unread: a reset, as after everything that is sent to it from now on
  expect_noticed();
}

TEST_F(DisconnectTest, AHalfCloseOfAnOldClientIsAnsweredAlone) {
  TestClient client(server_);
  client.send("POST /wait HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi");
  ASSERT_TRUE(becomes(waiting_.waiting, 1));
  client.shutdown_send();
  EXPECT_FALSE(client.readable(50ms)) << "HTTP/1.0 has no answers before the answer";
  server_.on_io([this] { waiting_.let_answer(); });
  const Response response = client.read_response();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "waited hi");
  EXPECT_EQ(waiting_.disconnects, 0);
}

TEST_F(DisconnectTest, UrgentBytesCostNothing) {
  TestClient client(server_);
  client.send(kWait);
  ASSERT_TRUE(becomes(waiting_.waiting, 1));
  client.send_urgent('!');
  client.shutdown_send();
  EXPECT_EQ(client.read_response().status, 100);
  const TimePoint asked = Clock::now();
  const std::clock_t before = std::clock();
  EXPECT_EQ(client.read_response().status, 100) << "it is asked again";
  const double used = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(used, to_seconds(Clock::now() - asked) / 10) << "no busy loop";
  server_.on_io([this] { waiting_.let_answer(); });
  EXPECT_EQ(answer_to(client).body, "waited hi");
}

TEST_F(DisconnectTest, ARequestWithoutABody) {
  TestClient client(server_);
  client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(becomes(waiting_.waiting, 1));
  client.close();
  expect_noticed();
}

TEST_F(DisconnectTest, ACloseThatCameWithTheRequest) {
  TestClient client(server_);
  client.send(kWait);
  client.close();
  expect_noticed();
}

TEST_F(DisconnectTest, ACloseBehindAPipelinedRequest) {
  TestClient client(server_);
  client.send(kWait);
  ASSERT_TRUE(becomes(waiting_.waiting, 1));
  client.send(kHello);
  client.close();
  EXPECT_TRUE(becomes(waiting_.disconnects, 1));
  EXPECT_TRUE(server_.wait_for_connections(0));
}

TEST_F(DisconnectTest, ACloseWithinTheBody) {
  TestClient client(server_);
  client.send("POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nhi");
  ASSERT_TRUE(becomes(waiting_.begun, 1));
  client.close();
  EXPECT_TRUE(becomes(waiting_.body_errors, 1));
  EXPECT_TRUE(server_.wait_for_connections(0));
}

TEST_F(DisconnectTest, AHalfCloseStillGetsWhatIsAnsweredAtOnce) {
  TestClient client(server_);
  client.send(kHello + kHello);
  client.shutdown_send();
  EXPECT_EQ(client.read_response().body, "hello");
  EXPECT_EQ(client.read_response().body, "hello");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(DisconnectTest, PipelinedBytesSurviveTheWatch) {
  TestClient client(server_);
  for (int round = 0; round < 20; ++round) {
    client.send(kWait);
    ASSERT_TRUE(becomes(waiting_.waiting, 1));
    client.send(kHello);
    if (round % 2 == 0) std::this_thread::sleep_for(2ms);
    const std::string body(30'000, 'b');
    client.send("POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n" + body);
    server_.on_io([this] { waiting_.let_answer(); });
    ASSERT_EQ(client.read_response().body, "waited hi");
    ASSERT_EQ(client.read_response().body, "hello");
    ASSERT_TRUE(becomes(waiting_.waiting, 1));
    server_.on_io([this] { waiting_.let_answer(); });
    ASSERT_EQ(client.read_response().body, "waited " + body);
  }
  EXPECT_EQ(waiting_.disconnects, 0);
}

TEST_F(DisconnectTest, ReadsAheadNoMoreThanItsLimit) {
  TestClient client(server_);
  client.send(kWait);
  ASSERT_TRUE(becomes(waiting_.waiting, 1));
  const std::string padded = "GET /hello HTTP/1.1\r\nHost: x\r\nPadding: " + std::string(16'000, 'p') + "\r\n\r\n";
  constexpr int kRequests = 2000;  // 32 MB: more than the sockets of both sides hold
  std::atomic<int> sent = 0;
  std::thread sender([&] {
    while (sent < kRequests && client.send(padded)) ++sent;
  });
  EXPECT_TRUE(comes_to_rest(server_, sent));
  EXPECT_LT(sent, kRequests);
  server_.on_io([this] { waiting_.let_answer(); });
  EXPECT_EQ(client.read_response().body, "waited hi");
  for (int i = 0; i < kRequests; ++i) ASSERT_EQ(client.read_response().body, "hello");
  sender.join();
}

TEST(Disconnect, TheCallbackCanBeReplacedAndTakenBack) {
  std::atomic<int> first = 0, second = 0, third = 0, begun = 0, ended = 0;
  Router router;
  router.add("GET", "/", [&](Exchange& exchange) -> asio::awaitable<void> {
    const bool take_back = !exchange.query("back").empty();
    exchange.on_disconnect([&] { ++first; });
    exchange.on_disconnect([&] { ++second; });
    if (take_back) exchange.on_disconnect(nullptr);
    ++begun;
    asio::steady_timer timer(co_await asio::this_coro::executor);
    while (!exchange.disconnected()) {
      timer.expires_after(1ms);
      co_await timer.async_wait(asio::use_awaitable);
    }
    // Set when the client is already gone: still called, and not from within the call.
    bool called = false;
    exchange.on_disconnect([&] {
      called = true;
      ++third;
    });
    if (called) third = -100;
    while (!called) {
      timer.expires_after(1ms);
      co_await timer.async_wait(asio::use_awaitable);
    }
    ++ended;
  });
  TestServer server(std::move(router));
  int sent = 0;
  for (const char* path : {"/", "/?back=1"}) {
    TestClient client(server);
    client.send("GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(becomes(begun, ++sent));
  }
  EXPECT_TRUE(becomes(ended, 2));
  EXPECT_EQ(first, 0);
  EXPECT_EQ(second, 1);
  EXPECT_EQ(third, 2);
}

// The handler asks before the server's own wait on the socket has noticed anything.
TEST(Disconnect, TheCallbackComesAlsoIfTheHandlerNoticesFirst) {
  Exchange* waiting = nullptr;
  std::atomic<int> begun = 0, disconnects = 0;
  Router router;
  router.add("GET", "/", [&](Exchange& exchange) -> asio::awaitable<void> {
    asio::steady_timer timer(co_await asio::this_coro::executor, kNever);
    exchange.on_disconnect([&disconnects, &timer] {
      ++disconnects;
      timer.cancel();
    });
    waiting = &exchange;
    ++begun;
    boost::system::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  });
  TestServer server(std::move(router));
  TestClient client(server);
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(becomes(begun, 1));
  bool gone = false;
  server.on_io([&] {
    client.reset();
    const TimePoint give_up = Clock::now() + kPatience;
    while (!(gone = waiting->disconnected()) && Clock::now() < give_up) std::this_thread::sleep_for(1ms);
  });
  EXPECT_TRUE(gone);
  EXPECT_TRUE(becomes(disconnects, 1));
}

// Streams small pieces without end.
struct Ticking {
  std::atomic<int> disconnects = 0;
  std::atomic<int> ticks = 0;
  std::atomic<bool> write_failed = false;
  asio::awaitable<void> handle(Exchange& exchange) {
    exchange.on_disconnect([this] { ++disconnects; });
    co_await exchange.begin(200, "text/plain");
    asio::steady_timer timer(co_await asio::this_coro::executor);
    bool sent = true;
    while (sent) {
      timer.expires_after(1ms);
      co_await timer.async_wait(asio::use_awaitable);
      sent = co_await exchange.write("tick\n");
      ++ticks;
    }
    write_failed = true;
  }
};

TEST(Disconnect, WithinASilentStream) {
  std::atomic<int> disconnects = 0, begun = 0;
  Router router;
  router.add("GET", "/", [&](Exchange& exchange) -> asio::awaitable<void> {
    asio::steady_timer silence(co_await asio::this_coro::executor, kNever);
    exchange.on_disconnect([&] {
      ++disconnects;
      silence.cancel();
    });
    co_await exchange.begin(200, exchange.query("type"));
    ++begun;
    boost::system::error_code ignored;
    co_await silence.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  });
  TestServer server(std::move(router));
  int asked = 0;
  for (const std::string type : {"text/event-stream", "application/x-ndjson"}) {
    TestClient client(server);
    client.send("GET /?type=" + type + " HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(client.read_response(true).status, 200);
    ASSERT_TRUE(becomes(begun, ++asked));
    client.close();  // nothing is unread, and nothing will be written
    EXPECT_TRUE(becomes(disconnects, asked)) << type;
    EXPECT_TRUE(server.wait_for_connections(0));
  }
}

TEST(Disconnect, WithinAStream) {
  for (const bool half : {false, true}) {
    Ticking ticking;
    Router router;
    router.add("GET", "/", [&](Exchange& exchange) { return ticking.handle(exchange); });
    TestServer server(std::move(router));
    TestClient client(server);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(client.read_response(true).status, 200);
    ASSERT_TRUE(becomes_true([&] { return ticking.ticks > 10; }));
    if (half) {
      client.shutdown_send();
      const int before = ticking.ticks;
      EXPECT_TRUE(becomes_true([&] { return ticking.ticks > before + 20; })) << "it still reads";
      EXPECT_EQ(ticking.disconnects, 0);
    }
    client.close();
    EXPECT_TRUE(becomes(ticking.write_failed, true));
    EXPECT_TRUE(server.wait_for_connections(0));
    EXPECT_EQ(ticking.disconnects, 1);
  }
}

// Writes 100 MB as fast as the client takes it.
struct Flooding {
  static constexpr std::size_t kPieces = 1600;
  static constexpr std::size_t kPieceBytes = 64 << 10;
  std::atomic<std::size_t> written = 0;
  std::atomic<bool> failed = false;
  asio::awaitable<void> handle(Exchange& exchange) {
    const std::string piece(kPieceBytes, 'f');
    co_await exchange.begin(200, "text/plain");
    for (std::size_t i = 0; i < kPieces && !failed; ++i) {
      const bool sent = co_await exchange.write(piece);
      if (sent) ++written;
      if (!sent) failed = true;
    }
    if (!failed) co_await exchange.finish();
  }
  Router router() {
    Router routes;
    routes.add("GET", "/", [this](Exchange& exchange) { return handle(exchange); });
    routes.add("GET", "/hello",
               [](Exchange& exchange) -> asio::awaitable<void> { co_await exchange.send(200, "text/plain", "hello"); });
    return routes;
  }
};

TEST(SlowClient, SuspendsTheHandlerUntilItReads) {
  Flooding flooding;
  TestServer server(flooding.router());
  const std::size_t before = resident_bytes();
  TestClient client;
  client.set_receive_buffer(64 << 10);
  ASSERT_TRUE(client.connect(server.port()));
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(becomes_true([&] { return flooding.written > 0; }));
  ASSERT_TRUE(comes_to_rest(server, flooding.written));
  const std::size_t stuck = flooding.written;
  EXPECT_LT(stuck, Flooding::kPieces / 2);
  EXPECT_EQ(TestClient(server).get("/hello").body, "hello");
  EXPECT_TRUE(comes_to_rest(server, flooding.written));
  EXPECT_EQ(flooding.written, stuck);
  EXPECT_LT(resident_bytes(), before + (20u << 20));
  const Response response = client.read_response();
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(response.body.size(), Flooding::kPieces * Flooding::kPieceBytes);
}

TEST(SlowClient, IsCutAfterTheWriteTimeout) {
  Flooding flooding;
  ServerLimits limits;
  limits.write_idle_timeout = 200ms;
  TestServer server(flooding.router(), limits);
  TestClient client(server);
  const TimePoint start = Clock::now();
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(becomes(flooding.failed, true));
  EXPECT_GE(Clock::now() - start, 200ms);
  EXPECT_TRUE(server.wait_for_connections(0));
  client.read_to_end();
  EXPECT_TRUE(client.was_reset());
}

TEST(Shutdown, IdleConnectionsCloseAndOthersFinish) {
  Waiting waiting;
  TestServer server(router_of(waiting));
  TestClient idle(server), fresh(server), busy(server);
  EXPECT_EQ(idle.get("/hello").status, 200);
  busy.send(kWait);
  ASSERT_TRUE(becomes(waiting.waiting, 1));
  ASSERT_TRUE(server.wait_for_connections(3));
  server.on_io([&] {
    server.server().stop_listening();
    server.server().stop_listening();
  });
  EXPECT_TRUE(idle.closed_by_server());
  EXPECT_TRUE(fresh.closed_by_server());
  EXPECT_FALSE(TestClient().connect(server.port()));
  server.on_io([&] { waiting.let_answer(); });
  const Response response = busy.read_response();
  EXPECT_EQ(response.body, "waited hi");
  EXPECT_EQ(response.header("Connection"), "close");
  EXPECT_TRUE(busy.closed_by_server());
  EXPECT_TRUE(server.wait_for_connections(0));
}

TEST(Shutdown, CloseAllCutsWhateverRuns) {
  Waiting waiting;
  Flooding flooding;
  Router router = router_of(waiting);
  router.add("GET", "/flood", [&](Exchange& exchange) { return flooding.handle(exchange); });
  TestServer server(std::move(router));
  TestClient idle(server), reading(server), busy(server), flooded(server);
  EXPECT_EQ(idle.get("/hello").status, 200);
  reading.send("POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhi");
  busy.send(kWait);
  flooded.send("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(becomes(waiting.waiting, 1));
  ASSERT_TRUE(becomes(waiting.begun, 2));
  ASSERT_TRUE(becomes_true([&] { return flooding.written > 0; }));
  server.on_io([&] {
    server.server().close_all();
    server.server().close_all();
  });
  EXPECT_TRUE(becomes(waiting.disconnects, 1));
  EXPECT_TRUE(becomes(flooding.failed, true));
  EXPECT_TRUE(server.wait_for_connections(0));
  EXPECT_EQ(waiting.body_errors, 1);
  EXPECT_EQ(TestClient(server).get("/hello").status, 200);  // still listening
}

TEST(Shutdown, TheServerMayGoBeforeItsHandlers) {
  Waiting waiting;
  std::vector<TestClient> clients;
  {
    TestServer server(router_of(waiting));
    for (int i = 0; i < 3; ++i) {
      clients.emplace_back(server);
      clients.back().send(kWait);
      ASSERT_TRUE(becomes(waiting.waiting, i + 1));
    }
  }
  EXPECT_EQ(waiting.disconnects, 3);
  EXPECT_EQ(waiting.ended, 3);
}

TEST(Shutdown, TheIoContextMayGoWhileHandlersRun) {
  Waiting waiting;
  TestClient client;
  auto io = std::make_unique<asio::io_context>();
  auto server = std::make_unique<Server>(*io, router_of(waiting), ServerLimits());
  ASSERT_TRUE(server->listen("127.0.0.1", 0).ok());
  ASSERT_TRUE(client.connect(server->port()));
  client.send(kWait);
  while (waiting.waiting == 0) io->run_one();
  server.reset();
  io.reset();
  EXPECT_EQ(waiting.ended, 0);
  EXPECT_EQ(client.read_response().status, 0);
}

}  // namespace
}  // namespace drover::http
