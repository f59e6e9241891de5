// What clients may take: time, connections and memory for bodies. Those that leave: server_clients_test.cc.
#include <gtest/gtest.h>

#include <ctime>
#include <vector>

#include "http/server.h"
#include "http/server_test_support.h"

namespace drover::http {
namespace {

TEST(Timeouts, CutClientsThatStall) {
  struct Case {
    const char* what;
    std::string request;
    std::chrono::nanoseconds ServerLimits::*limit;  // the only one that is not far away
  };
  for (const Case& stall :
       {Case{"says nothing", "", &ServerLimits::header_timeout},
        Case{"headers", "GET /hello HTTP/1.1\r\nHo", &ServerLimits::header_timeout},
        Case{"body", "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhi", &ServerLimits::body_idle_timeout},
        Case{"keeps the connection", kHello, &ServerLimits::keep_alive_timeout}}) {
    Waiting waiting;
    ServerLimits limits;
    limits.header_timeout = limits.keep_alive_timeout = limits.body_idle_timeout = 1h;
    limits.*stall.limit = 200ms;
    TestServer server(router_of(waiting), limits);
    const TimePoint start = Clock::now();
    TestClient client(server);
    client.send(stall.request);
    if (stall.request == kHello) {
      EXPECT_EQ(client.read_response().body, "hello");
    }
    client.read_to_end();
    EXPECT_TRUE(client.closed_by_server()) << stall.what;
    EXPECT_GE(Clock::now() - start, 200ms) << stall.what;
    EXPECT_FALSE(client.was_reset()) << stall.what;
    EXPECT_EQ(waiting.body_errors, stall.limit == &ServerLimits::body_idle_timeout ? 1 : 0) << stall.what;
    EXPECT_TRUE(server.wait_for_connections(0)) << stall.what;
  }
}

TEST(Timeouts, DripFedHeadersAreTooSlowAllTheSame) {
  Waiting waiting;
  ServerLimits limits;
  limits.header_timeout = 200ms;
  TestServer server(router_of(waiting), limits);
  const TimePoint start = Clock::now();
  TestClient client(server);
  client.send("GET /hello HTTP/1.1\r\n");
  const bool cut = becomes_true([&] { return client.readable(20ms) || !client.send("A: b\r\n"); });
  EXPECT_TRUE(cut);
  EXPECT_TRUE(client.closed_by_server()) << "without an answer";
  EXPECT_GE(Clock::now() - start, 200ms);
}

TEST(Timeouts, NoneIsNone) {
  Waiting waiting;
  ServerLimits limits;
  limits.header_timeout = limits.keep_alive_timeout = 0s;
  limits.body_idle_timeout = limits.write_idle_timeout = std::chrono::nanoseconds::max();
  TestServer server(router_of(waiting), limits);
  TestClient client(server);
  client.send("POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nh");
  ASSERT_TRUE(becomes(waiting.begun, 1));
  ASSERT_TRUE(comes_to_rest(server, waiting.body_errors));  // what is due at once has happened
  client.send("i");
  ASSERT_TRUE(becomes(waiting.waiting, 1));
  server.on_io([&] { waiting.let_answer(); });
  EXPECT_EQ(client.read_response().body, "waited hi");
}

TEST(Unread, WhereAnswersWaitThatFillTheirShareTheNextOneIsReadAtOnceOrCut) {
  constexpr std::size_t kBytes = 32 << 20;  // more than the system takes of what nobody reads
  std::atomic<int> begun = 0;
  Router router;
  router.add("GET", "/", [&](Exchange& exchange) -> asio::awaitable<void> {
    ++begun;
    std::string body(kBytes, 'x');
    co_await exchange.send(200, "text/plain", std::move(body));
  });
  ServerLimits limits;
  limits.bodies_bytes_per_client_max = kBytes * 3 / 2;
  limits.write_idle_timeout = 0s;
  limits.unread_timeout = 1ms;
  TestServer server(std::move(router), limits);
  const std::string_view request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  TestClient first(server);
  first.send(request);
  ASSERT_TRUE(becomes(begun, 1));
  TestClient second(server);
  second.send(request);
  ASSERT_TRUE(becomes(begun, 2));
  EXPECT_TRUE(server.wait_for_connections(1));
  EXPECT_EQ(first.read_response().body.size(), kBytes) << "it was within its share";
  EXPECT_EQ(first.get("/").body.size(), kBytes) << "which is free again";
}

// Room for both ends of so many connections, or nothing.
bool allow_connections(rlim_t count) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t wanted = 2 * count + 200;
  if (limit.rlim_cur >= wanted) return true;
  limit.rlim_cur = std::min(limit.rlim_max, wanted);
  setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur >= wanted;
}

TEST(ManyClients, IdleOrWaitingTheyCostLittle) {
  constexpr int kClients = 2000;
  if (!allow_connections(kClients)) GTEST_SKIP() << "too few file descriptors";
  Waiting waiting;
  TestServer server(router_of(waiting));
  std::vector<TestClient> clients;
  clients.reserve(kClients);
  const std::size_t before = resident_bytes();
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back(server);
    clients.back().send(kHello);
    ASSERT_EQ(clients.back().read_response().body, "hello");
  }
  EXPECT_EQ(server.connections(), kClients);
  const std::size_t idle = resident_bytes() - std::min(before, resident_bytes());
  for (TestClient& client : clients) client.send(kWait);
  ASSERT_TRUE(becomes(waiting.waiting, kClients));
  const std::size_t busy = resident_bytes() - std::min(before, resident_bytes());
  RecordProperty("idle_bytes", static_cast<int>(idle / kClients));
  RecordProperty("waiting_bytes", static_cast<int>(busy / kClients));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(idle / kClients, 8u << 10);
  EXPECT_LT(busy / kClients, 16u << 10);
#endif
  for (TestClient& client : clients) client.close();
  EXPECT_TRUE(becomes(waiting.disconnects, kClients));
  EXPECT_TRUE(server.wait_for_connections(0));
}

TEST(ManyClients, OverTheLimitTheyAreToldSo) {
  Waiting waiting;
  ServerLimits limits;
  limits.connections_max = 2;
  TestServer server(router_of(waiting), limits);
  TestClient first(server), second(server);
  EXPECT_EQ(first.get("/hello").status, 200);
  EXPECT_EQ(second.get("/hello").status, 200);
  {
    TestClient third(server);
    const Response response = third.get("/hello");
    EXPECT_EQ(response.status, 503);
    EXPECT_EQ(response.body, R"({"error":"too many connections"})");
  }
  first.close();
  ASSERT_TRUE(server.wait_for_connections(1));
  EXPECT_EQ(TestClient(server).get("/hello").status, 200);
}

TEST(ManyClients, AFullServerSaysThatItLives) {
  Waiting waiting;
  Router router = router_of(waiting);
  router.add("GET", "/healthz",
             [](Exchange& exchange) -> asio::awaitable<void> { co_await exchange.send(200, "text/plain", "ok"); });
  ServerLimits limits;
  limits.connections_max = 1;
  limits.probes_max = 1;
  limits.probe_timeout = 1h;
  TestServer server(std::move(router), limits);
  TestClient only(server);
  EXPECT_EQ(only.get("/healthz").body, "ok");
  TestClient probe(server);
  TestClient beyond(server);
  EXPECT_EQ(beyond.read_response().status, 503) << "at once: the reserve is one place";
  const Response response = probe.get("/healthz");
  EXPECT_EQ(response.body, "ok");
  EXPECT_EQ(response.header("Connection"), "close");
  probe.close();
  ASSERT_TRUE(server.wait_for_connections(1));
  EXPECT_EQ(TestClient(server).get("/hello").status, 503);
}

TEST(ManyClients, OneAddressLeavesRoomForOthers) {
  Waiting waiting;
  ServerLimits limits;
  limits.connections_max = 4;
  limits.connections_per_client_max = 3;
  limits.probes_max = 0;
  TestServer server(router_of(waiting), limits);
  std::vector<TestClient> greedy;
  for (int i = 0; i < 3; ++i) {
    greedy.emplace_back(server);
    EXPECT_EQ(greedy.back().get("/hello").status, 200);
  }
  EXPECT_EQ(TestClient(server).read_response().status, 503);
  TestClient other("127.0.0.2");
  ASSERT_TRUE(other.connect(server.port()));
  EXPECT_EQ(other.get("/hello").status, 200);
}

TEST(Bodies, AreBoundedInAllAndForAnAddress) {
  Waiting waiting;
  ServerLimits limits;
  limits.bodies_bytes_per_client_max = 100'000;
  TestServer server(router_of(waiting), limits);
  const std::string large =
      "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + std::string(60'000, 'b');
  TestClient first(server);
  first.send(large);
  ASSERT_TRUE(becomes(waiting.waiting, 1));
  TestClient second(server);
  second.send(large);
  EXPECT_TRUE(becomes(waiting.body_errors, 1)) << "there is no memory for both";
  TestClient other("127.0.0.2");
  ASSERT_TRUE(other.connect(server.port()));
  other.send(large);
  ASSERT_TRUE(becomes(waiting.waiting, 2)) << "another address has its own";
  other.close();
  ASSERT_TRUE(becomes(waiting.waiting, 1));
  first.close();
  ASSERT_TRUE(becomes(waiting.ended, 2));
  TestClient third(server);
  third.send(large);
  EXPECT_TRUE(becomes(waiting.waiting, 1)) << "what was held is given back";
}

TEST(Bodies, LongHeadsAreCountedAsTheyAre) {
  Waiting waiting;
  ServerLimits limits;
  limits.bodies_bytes_per_client_max = 100'000;
  TestServer server(router_of(waiting), limits);
  const std::string head = "GET /hello HTTP/1.1\r\nHost: x\r\nA: " + std::string(40'000, 'a');  // goes on
  {
    TestClient first(server), second(server), third(server);
    first.send(head);
    second.send(head);
    ASSERT_TRUE(server.wait_for_connections(3));
    third.send(head);
    ASSERT_TRUE(becomes_true([&] { return first.readable(1ms) || second.readable(1ms) || third.readable(1ms); }));
    EXPECT_EQ(TestClient(server).get("/hello").body, "hello") << "a short head costs nothing";
  }
  ASSERT_TRUE(server.wait_for_connections(0));
  TestClient after(server);
  after.send(head + "\r\n\r\n");
  EXPECT_EQ(after.read_response().body, "hello") << "what was held is given back";
}

TEST(Bodies, ThatCrawlAreGivenUp) {
  Waiting waiting;
  ServerLimits limits;
  limits.body_grace = 100ms;
  limits.body_bytes_per_second_min = 1 << 20;
  TestServer server(router_of(waiting), limits);
  TestClient client(server);
  client.send("POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
  EXPECT_TRUE(becomes_true([&] {
    client.send("b");
    return waiting.body_errors == 1;
  }));
}

TEST(ManyClients, RunningOutOfDescriptorsIsNotTheEnd) {
  Waiting waiting;
  TestServer server(router_of(waiting));
  EXPECT_EQ(TestClient(server).get("/hello").status, 200);
  ASSERT_TRUE(server.wait_for_connections(0));
  TestClient client;  // has its descriptor already
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const int next = dup(0);
  ::close(next);
  const rlimit exhausted{static_cast<rlim_t>(next), limit.rlim_max};
  setrlimit(RLIMIT_NOFILE, &exhausted);
  ASSERT_TRUE(client.connect(server.port()));
  client.send(kHello);
  const std::clock_t used = std::clock();
  EXPECT_FALSE(client.readable(500ms));
  EXPECT_LT(std::clock() - used, CLOCKS_PER_SEC / 4);  // no busy loop
  setrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_EQ(client.read_response().body, "hello");
}

}  // namespace
}  // namespace drover::http
