// The server as a client sees it: HTTP itself. Clients that leave, stall or are many: server_clients_test.cc.
#include "http/server.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "http/server_test_support.h"

namespace drover::http {
namespace {

constexpr std::size_t kEchoBytesMax = 1 << 20;

asio::awaitable<void> hello(Exchange& exchange) {
  co_await exchange.send(200, "text/plain", "hello");
}

asio::awaitable<void> echo(Exchange& exchange) {
  const Result<std::string> body = co_await exchange.read_body(kEchoBytesMax);
  if (body) {
    co_await exchange.send(200, "text/plain", *body);
  } else {
    const int status = body.error().code == ErrorCode::kTooLarge ? 413 : 400;
    co_await exchange.send(status, "text/plain", body.error().message);
  }
}

asio::awaitable<void> stream(Exchange& exchange) {
  co_await exchange.begin(200, "application/x-ndjson");
  for (const std::string_view piece : {"one\n", "", "two\n"}) co_await exchange.write(piece);
  co_await exchange.finish();
}

// Says what the exchange says of its request.
asio::awaitable<void> describe(Exchange& exchange) {
  std::string text(exchange.method());
  for (const std::string_view part :
       {exchange.path(), exchange.query("q"), exchange.query("none"), exchange.header("x-thing"),
        exchange.parameter("name"), exchange.remote_address()}) {
    text += '|';
    text += part;
  }
  co_await exchange.send(200, "text/plain", text);
}

Router test_router() {
  Router router;
  router.add("GET", "/hello", hello);
  router.add("POST", "/hello", hello);  // does not read the body
  router.add("POST", "/echo", echo);
  router.add("GET", "/stream", stream);
  router.add("GET", "/describe/:name", describe);
  router.add("GET", "/nothing",
             [](Exchange& exchange) -> asio::awaitable<void> { co_await exchange.send(204, "", ""); });
  router.add("GET", "/throw", [](Exchange&) -> asio::awaitable<void> {
    throw std::runtime_error("no good");
    co_return;
  });
  router.add("GET", "/throw-late", [](Exchange& exchange) -> asio::awaitable<void> {
    co_await exchange.begin(200, "text/plain");
    co_await exchange.write("half");
    throw 42;
  });
  router.add("GET", "/headers", [](Exchange& exchange) -> asio::awaitable<void> {
    Headers headers{{"Retry-After", "1"}, {"X-Long", "another text that is long enough for the heap"}};
    co_await exchange.send(503, "application/json", R"({"error":"a text that is long enough for the heap"})",
                           std::move(headers));
  });
  router.add("GET", "/silent", [](Exchange&) -> asio::awaitable<void> { co_return; });
  router.add("GET", "/unfinished", [](Exchange& exchange) -> asio::awaitable<void> {
    co_await exchange.begin(200, "text/plain");
    co_await exchange.write("half");
  });
  return router;
}

class ServerTest : public testing::Test {
 protected:
  TestServer server_{test_router()};
};

TEST_F(ServerTest, AnswersAndKeepsTheConnection) {
  TestClient client(server_);
  for (int i = 0; i < 3; ++i) {
    const Response response = client.get("/hello");
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "hello");
    EXPECT_EQ(response.header("Content-Type"), "text/plain");
    EXPECT_EQ(response.header("Content-Length"), "5");
    EXPECT_EQ(response.header("Connection"), "");
    EXPECT_EQ(response.header("Server"), "");
    EXPECT_EQ(response.header("Date").size(), std::strlen("Sun, 06 Nov 1994 08:49:37 GMT"));
  }
  EXPECT_EQ(server_.connections(), 1u);
}

TEST_F(ServerTest, TellsTheRequest) {
  TestClient client(server_);
  client.send("GET /describe/a%20b?q=1%2B1&p=0 HTTP/1.1\r\nHost: x\r\nX-THING: y z\r\n\r\n");
  EXPECT_EQ(client.read_response().body, "GET|/describe/a b|1+1||y z|a b|127.0.0.1");
}

TEST_F(ServerTest, ASlashTooManyIsRedirected) {
  TestClient client(server_);
  const auto location = [&](std::string_view method, std::string_view target, int status) {
    client.send(std::string(method) + " " + std::string(target) +
                " HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    const Response response = client.read_response(method == "HEAD");
    EXPECT_EQ(response.status, status) << target;
    EXPECT_EQ(response.body, status == 404 ? "404 page not found" : "");
    return response.header("Location");
  };
  EXPECT_EQ(location("GET", "/hello/", 301), "/hello");
  EXPECT_EQ(location("HEAD", "/hello/", 307), "/hello");
  EXPECT_EQ(location("POST", "/hello/", 307), "/hello");
  EXPECT_EQ(location("GET", "/describe/a%20b/?q=1%2B1&x=/", 301), "/describe/a%20b?q=1%2B1&x=/");
  EXPECT_EQ(location("GET", "http://other:80/hello/", 301), "/hello");
  for (const char* none : {"/other/", "/hello//", "//hello/", "//", "/stream/x/", "/hello%2F"})
    location("GET", none, 404);
  EXPECT_EQ(location("DELETE", "/hello/", 404), "");
  client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
  EXPECT_EQ(client.read_response().body, "body") << "the connection goes on";
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
  TestClient client(server_);
  std::string requests;
  for (int i = 0; i < 100; ++i) {
    const std::string body = "body " + std::to_string(i);
    requests += "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    requests += "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";
  }
  client.send(requests);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(client.read_response().body, "body " + std::to_string(i));
    ASSERT_EQ(client.read_response().body, "one\ntwo\n");
  }
}

TEST_F(ServerTest, ARequestMayComeByteByByte) {
  TestClient client(server_);
  for (const char c : std::string("\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n")) {
    client.send(std::string(1, c));
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(client.read_response().body, "abcde");
  EXPECT_EQ(client.get("/hello").body, "hello");
}

TEST_F(ServerTest, StreamsInChunks) {
  TestClient client(server_);
  const Response response = client.get("/stream");
  EXPECT_EQ(response.header("Transfer-Encoding"), "chunked");
  EXPECT_EQ(response.header("Content-Length"), "");
  EXPECT_EQ(response.body, "one\ntwo\n");
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(client.get("/hello").status, 200);
}

TEST_F(ServerTest, Http10ClosesAfterTheAnswer) {
  TestClient client(server_);
  client.send("GET /hello HTTP/1.0\r\n\r\n");
  const Response response = client.read_response();
  EXPECT_TRUE(response.head.starts_with("HTTP/1.0 200 OK\r\n"));
  EXPECT_EQ(response.header("Content-Length"), "5");
  EXPECT_EQ(response.header("Connection"), "");
  EXPECT_EQ(response.body, "hello");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(ServerTest, Http10KeepsTheConnectionIfAsked) {
  TestClient client(server_);
  for (int i = 0; i < 2; ++i) {
    client.send("GET /hello HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    const Response response = client.read_response();
    EXPECT_EQ(response.header("Connection"), "keep-alive");
    EXPECT_EQ(response.body, "hello");
  }
}

TEST_F(ServerTest, Http10StreamsUntilTheEnd) {
  TestClient client(server_);
  client.send("GET /stream HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
  const Response response = client.read_response();
  EXPECT_EQ(response.header("Transfer-Encoding"), "");
  EXPECT_EQ(response.header("Connection"), "");
  EXPECT_EQ(response.body, "one\ntwo\n");
  EXPECT_TRUE(response.complete);
}

TEST_F(ServerTest, Http10StreamThatIsCutIsAnErrorToTheClient) {
  TestClient client(server_);
  client.send("GET /unfinished HTTP/1.0\r\n\r\n");
  client.read_to_end();
  EXPECT_TRUE(client.was_reset());
}

TEST_F(ServerTest, ClosesWhenTheClientAsksForIt) {
  TestClient client(server_);
  client.send("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.read_response().header("Connection"), "close");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(ServerTest, HeadGetsTheHeadersAlone) {
  TestClient client(server_);
  client.send("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\nHEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.read_response(true).header("Content-Length"), "5");
  EXPECT_EQ(client.read_response(true).status, 200);
  EXPECT_EQ(client.get("/hello").body, "hello");
}

TEST_F(ServerTest, SendsTheHandlersHeaders) {
  TestClient client(server_);
  const Response response = client.get("/headers");
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.header("Retry-After"), "1");
  EXPECT_EQ(response.header("X-Long"), "another text that is long enough for the heap");
  EXPECT_EQ(response.body, R"({"error":"a text that is long enough for the heap"})");
}

TEST_F(ServerTest, NoContentHasNoLength) {
  TestClient client(server_);
  const Response response = client.get("/nothing");
  EXPECT_EQ(response.status, 204);
  EXPECT_EQ(response.header("Content-Length"), "");
  EXPECT_EQ(response.header("Content-Type"), "");
  EXPECT_EQ(client.get("/hello").body, "hello");
}

TEST_F(ServerTest, ContinueIsSaidWhenTheBodyIsRead) {
  TestClient client(server_);
  client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_response().head, "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  EXPECT_EQ(client.read_response().body, "ok");
  EXPECT_EQ(client.get("/hello").body, "hello");
}

TEST_F(ServerTest, ContinueIsNotSaidWhenTheBodyIsNotRead) {
  for (const char* start :
       {"POST /hello HTTP/1.1\r\nContent-Length: 2\r\n", "POST /echo HTTP/1.1\r\nContent-Length: 99999999\r\n"}) {
    TestClient client(server_);
    client.send(std::string(start) + "Host: x\r\nExpect: 100-continue\r\n\r\n");
    const Response response = client.read_response();
    EXPECT_GE(response.status, 200);
    EXPECT_EQ(response.header("Connection"), "close");
    EXPECT_TRUE(client.closed_by_server());
  }
}

TEST_F(ServerTest, UnknownPathAndMethod) {
  TestClient client(server_);
  const Response missing = client.get("/none");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.header("Content-Type"), "text/plain");
  EXPECT_EQ(missing.body, "404 page not found");
  client.send("DELETE /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  const Response wrong = client.read_response();
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.header("Allow"), "GET, HEAD, POST");
  EXPECT_EQ(wrong.body, "405 method not allowed");
}

TEST_F(ServerTest, AHandlerThatFailsAnswers500) {
  TestClient client(server_);
  for (const char* path : {"/throw", "/silent"}) {
    const Response response = client.get(path);
    EXPECT_EQ(response.status, 500) << path;
    EXPECT_EQ(response.body, R"({"error":"internal error"})");
    EXPECT_EQ(response.header("Content-Type"), "application/json; charset=utf-8");
  }
  EXPECT_EQ(client.get("/hello").body, "hello");
}

TEST_F(ServerTest, AHandlerThatFailsMidwayCutsTheAnswer) {
  for (const char* path : {"/throw-late", "/unfinished"}) {
    TestClient client(server_);
    const Response response = client.get(path);
    EXPECT_EQ(response.body, "half") << path;
    EXPECT_FALSE(response.complete) << path;
  }
  EXPECT_EQ(TestClient(server_).get("/hello").body, "hello");
}

TEST_F(ServerTest, MalformedRequestsAreRefusedAndTheConnectionClosed) {
  const std::pair<std::string, int> cases[] = {
      {"GARBAGE\r\n\r\n", 400},
      {std::string("\x16\x03\x01\x02\x00\x01\x00", 7), 400},  // TLS
      {"GET /hello HTTP/2.0\r\n\r\n", 400},
      {"GET hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\r\nHost: x\r\nFolded: a\r\n b\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\r\nFolded: a\r\n\tb\r\nHost: x\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: wonders\r\n\r\n", 417},
  };
  for (const auto& [request, status] : cases) {
    TestClient client(server_);
    client.send(request + "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    const Response response = client.read_response();
    EXPECT_EQ(response.status, status) << request;
    EXPECT_EQ(response.header("Connection"), "close") << request;
    client.shutdown_send();
    EXPECT_EQ(client.read_to_end(), "") << request;
  }
  EXPECT_EQ(TestClient(server_).get("/hello").body, "hello");
}

TEST_F(ServerTest, TooLargeAHeadIsRefused) {
  const std::string name(60'000, 'a');
  std::string many;
  for (int i = 0; i < 20'000; ++i) many += "a: b\r\n";
  for (const std::string& request :
       {"GET /" + name + name + " HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: x\r\nA: " + name + name + "\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: x\r\n" + many + "\r\n", std::string(100'000, '\n')}) {
    TestClient client(server_);
    client.send(request);
    EXPECT_EQ(client.read_response().status, 431);
  }
  TestClient client(server_);
  client.send("GET /hello HTTP/1.1\r\nHost: x\r\nA: " + name + "\r\n\r\n");
  EXPECT_EQ(client.read_response().status, 200);
}

TEST_F(ServerTest, SoAreTooManyFieldsOfAHeadOrATrailer) {
  std::string many;
  for (int i = 0; i < 300; ++i) many += "a:\r\n";
  TestClient head(server_);
  head.send("GET /hello HTTP/1.1\r\nHost: x\r\n" + many + "\r\n");
  EXPECT_EQ(head.read_response().status, 431);
  TestClient unfinished(server_);
  unfinished.send("GET /hello HTTP/1.1\r\nHost: x\r\n" + many);
  EXPECT_EQ(unfinished.read_response().status, 431) << "before more of it is stored";
  TestClient trailer(server_);
  const std::string chunked = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  trailer.send(chunked + "2\r\nhi\r\n0\r\n" + many);
  EXPECT_EQ(trailer.read_response().status, 400) << "before more of it is stored";
  for (const auto& [more, status] : {std::pair(255u, 200), std::pair(256u, 431)}) {
    TestClient some(server_);
    some.send("GET /hello HTTP/1.1\r\nHost: x\r\n" + many.substr(0, 4 * more) + "\r\n");
    EXPECT_EQ(some.read_response().status, status) << more;
  }
  // The lines of a body, and of the next request, are none of the head's.
  TestClient body(server_);
  const std::string post = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1200\r\n\r\n" + many;
  body.send(post + post);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(body.read_response().body, many);
  const std::string some_fields = many.substr(0, 4 * 250);
  body.send(chunked + "4b0\r\n" + many + "\r\n4b0\r\n" + many + "\r\n0\r\n" + some_fields + "\r\n" + post);
  EXPECT_EQ(body.read_response().body, many + many);
  EXPECT_EQ(body.read_response().body, many);
}

TEST_F(ServerTest, ManySmallHeadersInManyPacketsAreStillOneHead) {
  TestClient client(server_);
  client.send("GET /hello HTTP/1.1\r\nHost: x\r\n");
  bool taken = true;
  for (int i = 0; i < 2000 && taken && !client.readable(0ms); ++i) {
    taken = client.send("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n");
  }
  EXPECT_EQ(client.read_response().status, 431);
}

TEST_F(ServerTest, ReadsLargeBodies) {
  std::string body(kEchoBytesMax, 'x');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i * 7 % 26);
  TestClient client(server_);
  client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  EXPECT_TRUE(client.read_response().body == body);
  std::string chunks;
  for (std::size_t at = 0; at < body.size(); at += 4096) chunks += "1000\r\n" + body.substr(at, 4096) + "\r\n";
  client.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + "0\r\n\r\n");
  EXPECT_TRUE(client.read_response().body == body);
}

TEST_F(ServerTest, ABodyOverTheLimitIsTooLarge) {
  const std::string body(kEchoBytesMax + 1, 'x');
  for (const bool chunked : {false, true}) {
    TestClient client(server_);
    const std::string framing = chunked ? "Transfer-Encoding: chunked\r\n\r\n100001\r\n"
                                        : "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\n" + framing + body + (chunked ? "\r\n0\r\n\r\n" : ""));
    const Response response = client.read_response();
    EXPECT_EQ(response.status, 413);
    EXPECT_EQ(response.body, "request body too large");
  }
}

TEST_F(ServerTest, MalformedChunksAreAnError) {
  for (const char* chunks : {"x\r\n", "3\r\nabcdefgh\r\n", "ffffffffffffffffff\r\nabc"}) {
    TestClient client(server_);
    client.send(std::string("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n") + chunks);
    const Response response = client.read_response();
    EXPECT_EQ(response.status, 400) << chunks;
    EXPECT_EQ(response.header("Connection"), "close") << chunks;
    EXPECT_TRUE(client.closed_by_server()) << chunks;
  }
}

TEST_F(ServerTest, EndlessChunkExtensionsAreAnError) {
  TestClient client(server_);
  client.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(200'000, 'x'));
  EXPECT_EQ(client.read_response().status, 400);
}

TEST_F(ServerTest, AnUnreadBodyIsThrownAway) {
  TestClient client(server_);
  client.send("POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + std::string(200'000, 'x'));
  EXPECT_EQ(client.read_response().header("Connection"), "");
  client.send("POST /hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  EXPECT_EQ(client.read_response().body, "hello");
  EXPECT_EQ(client.get("/hello").body, "hello");
}

TEST_F(ServerTest, TooLongAnUnreadBodyEndsTheConnectionButNotTheAnswer) {
  TestClient client(server_);
  client.send("POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + std::string(1'000'000, 'x'));
  const Response response = client.read_response();
  EXPECT_EQ(response.body, "hello");
  EXPECT_EQ(response.header("Connection"), "close");
  EXPECT_EQ(client.read_to_end(), "");
}

TEST(ServerGuard, RefusesBeforeTheRouteAndAddsHeaders) {
  const auto guard = [](Exchange& exchange) -> asio::awaitable<bool> {
    exchange.add_header("X-Guard", "seen\r\nForged: yes");
    if (exchange.header("Origin") != "bad") co_return true;
    co_await exchange.send(403, "", "");
    co_return false;
  };
  TestServer server(test_router(), {}, guard);
  TestClient client(server);
  EXPECT_EQ(client.get("/hello").header("X-Guard"), "seen  Forged: yes");
  EXPECT_EQ(client.get("/none").header("X-Guard"), "seen  Forged: yes");
  client.send("POST /none HTTP/1.1\r\nHost: x\r\nOrigin: bad\r\nContent-Length: 2\r\n\r\nhi");
  EXPECT_EQ(client.read_response().status, 403);
  EXPECT_EQ(client.get("/hello").body, "hello");
}

TEST(ServerListen, SaysWhyItCannot) {
  asio::io_context io;
  Server first(io, test_router(), {});
  ASSERT_TRUE(first.listen("127.0.0.1", 0).ok());
  Server second(io, test_router(), {});
  const Result<void> taken = second.listen("127.0.0.1", first.port());
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(taken.error().message,
            "listen tcp 127.0.0.1:" + std::to_string(first.port()) + ": bind: address already in use");
  const Result<void> elsewhere = second.listen("192.0.2.1", 80);
  ASSERT_FALSE(elsewhere.ok());
  EXPECT_EQ(elsewhere.error().message, "listen tcp 192.0.2.1:80: bind: cannot assign requested address");
  EXPECT_FALSE(second.listen("no such host", 0).ok());
}

TEST(ServerListen, TakesNamesAndBothFamilies) {
  for (const char* host : {"localhost", "0.0.0.0", "::"}) {
    asio::io_context io;
    Server server(io, test_router(), {});
    const Result<void> listening = server.listen(host, 0);
    if (!listening && std::string_view(host) == "::") GTEST_SKIP() << listening.error().message;  // no IPv6 here
    ASSERT_TRUE(listening.ok()) << listening.error().message;
    std::thread thread([&io] { io.run(); });
    {
      TestClient client(server.port());
      client.send("GET /describe/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      EXPECT_EQ(client.read_response().body, "GET|/describe/x||||x|127.0.0.1") << host;
    }
    asio::post(io, [&server] { server.stop_listening(); });
    thread.join();
  }
}

}  // namespace
}  // namespace drover::http
