#include "client/api_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace drover::cli {
namespace {

enum class End { kClose, kWaitForClient };

// Answers one request with the given pieces, one write each, and keeps what it was sent.
class OneAnswerServer {
 public:
  explicit OneAnswerServer(std::vector<std::string> pieces, End end = End::kClose) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    address_.port = ntohs(address.sin_port);
    thread_ = std::thread([this, pieces = std::move(pieces), end] { serve(pieces, end); });
  }

  ~OneAnswerServer() {
    finish();
    close(listener_);
  }

  const HostAddress& address() const { return address_; }
  // What the client sent. Waits for the connection to end.
  const std::string& request() {
    finish();
    return request_;
  }

 private:
  void finish() {
    if (thread_.joinable()) thread_.join();
  }

  void serve(const std::vector<std::string>& pieces, End end) {
    const int connection = accept(listener_, nullptr, nullptr);
    char buffer[65536];
    while (!request_is_whole()) {
      const ssize_t count = read(connection, buffer, sizeof(buffer));
      if (count <= 0) break;
      request_.append(buffer, static_cast<std::size_t>(count));
    }
    for (const std::string& piece : pieces) {
      if (send(connection, piece.data(), piece.size(), MSG_NOSIGNAL) < 0) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    if (end == End::kWaitForClient) {
      while (read(connection, buffer, sizeof(buffer)) > 0) {
      }
    }
    close(connection);
  }

  bool request_is_whole() const {
    const auto head_end = request_.find("\r\n\r\n");
    if (head_end == std::string::npos) return false;
    const auto length = request_.find("Content-Length: ");
    const std::size_t body = length == std::string::npos ? 0 : std::stoul(request_.substr(length + 16));
    return request_.size() >= head_end + 4 + body;
  }

  int listener_ = -1;
  HostAddress address_;
  std::string request_;
  std::thread thread_;
};

std::string answer(const std::string& status, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string chunk(const std::string& text) {
  char size[16];
  std::snprintf(size, sizeof(size), "%zx\r\n", text.size());
  return size + text + "\r\n";
}

constexpr const char* kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";

struct Streamed {
  Result<void> result;
  std::vector<std::string> objects;
};

Streamed stream(OneAnswerServer& server, const ApiClient::Tick& tick = {}) {
  ApiClient client(server.address());
  Streamed streamed;
  streamed.result = client.stream(
      "/api/chat", {{"model", "m"}}, [&](const Json& object) { streamed.objects.push_back(object.dump()); }, tick);
  return streamed;
}

TEST(ApiClientTest, ErrorsCarryTheServersText) {
  OneAnswerServer server({answer("404 Not Found", R"({"error":"model 'x' not found"})")});
  const auto result = ApiClient(server.address()).post("/api/show", {{"model", "x"}});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(result.error().message, "model 'x' not found");
  EXPECT_NE(server.request().find("\r\n\r\n{\"model\":\"x\"}"), std::string::npos);
}

TEST(ApiClientTest, ErrorsThatAreNoJson) {
  OneAnswerServer server({answer("502 Bad Gateway", "<html>\nsomething")});
  const auto result = ApiClient(server.address()).get("/api/tags");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message, "<html> (status 502)");
}

TEST(ApiClientTest, AnswersThatAreNoJson) {
  OneAnswerServer server({answer("200 OK", "hello")});
  const auto result = ApiClient(server.address()).get("/api/tags");
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("did not answer in JSON"), std::string::npos);
}

TEST(ApiClientTest, NobodyThere) {
  HostAddress nobody;
  nobody.port = 1;
  const auto result = ApiClient(nobody).get("/api/tags");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(result.error().message.find("http://127.0.0.1:1,"), std::string::npos);
}

TEST(ApiClientTest, StreamLinesMayBeCutAnywhere) {
  OneAnswerServer server({kStreamHead, chunk("{\"a\":1}\n{\"b\""), chunk(":2}"), chunk("\n\r\n{\"c\":3}"), chunk("\n"),
                          chunk("{\"d\":4}"), "0\r\n\r\n"});
  const auto streamed = stream(server);
  EXPECT_TRUE(streamed.result.ok());
  EXPECT_EQ(streamed.objects, (std::vector<std::string>{R"({"a":1})", R"({"b":2})", R"({"c":3})", R"({"d":4})"}));
}

TEST(ApiClientTest, AnErrorInMidStreamEndsIt) {
  OneAnswerServer server({kStreamHead, chunk("{\"a\":1}\n{\"error\":\"it broke\"}\n{\"b\":2}\n"), "0\r\n\r\n"});
  const auto streamed = stream(server);
  ASSERT_FALSE(streamed.result.ok());
  EXPECT_EQ(streamed.result.error().message, "it broke");
  EXPECT_EQ(streamed.objects.size(), 1u);
}

TEST(ApiClientTest, ARefusedStreamIsAnError) {
  OneAnswerServer server({answer("503 Service Unavailable", R"({"error":"model request timeout"})")});
  const auto streamed = stream(server);
  ASSERT_FALSE(streamed.result.ok());
  EXPECT_EQ(streamed.result.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(streamed.result.error().message, "model request timeout");
}

TEST(ApiClientTest, AStreamThatIsCutIsAnError) {
  OneAnswerServer server({kStreamHead, chunk("{\"a\":1}\n")});
  const auto streamed = stream(server);
  ASSERT_FALSE(streamed.result.ok());
  EXPECT_NE(streamed.result.error().message.find("closed the connection before it was done"), std::string::npos);
  EXPECT_EQ(streamed.objects.size(), 1u);
}

TEST(ApiClientTest, ATickThatSaysNoClosesTheConnection) {
  OneAnswerServer server({kStreamHead, chunk("{\"a\":1}\n")}, End::kWaitForClient);
  int ticks = 0;
  const auto streamed = stream(server, [&] { return ++ticks < 5; });
  ASSERT_FALSE(streamed.result.ok());
  EXPECT_EQ(streamed.result.error().code, ErrorCode::kCanceled);
  server.request();  // Returns because the server has seen the connection end.
}

class UploadTest : public testing::Test {
 protected:
  void SetUp() override {
    file_ = std::filesystem::temp_directory_path() / ("drover-upload-test-" + std::to_string(getpid()));
    std::ofstream(file_, std::ios::binary) << content_;
  }
  void TearDown() override { std::filesystem::remove(file_); }

  std::string content_ = std::string(300'000, 'x') + "end";
  std::filesystem::path file_;
};

TEST_F(UploadTest, SendsTheFile) {
  OneAnswerServer server({answer("201 Created", "")});
  std::uint64_t sent = 0;
  const auto result =
      ApiClient(server.address()).upload_blob(Digest::of(content_), file_, [&](std::uint64_t bytes) { sent = bytes; });
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(sent, content_.size());
  const std::string& request = server.request();
  EXPECT_TRUE(request.starts_with("POST /api/blobs/" + Digest::of(content_).to_string() + " HTTP/1.1\r\n"));
  EXPECT_TRUE(request.ends_with(content_));
}

TEST_F(UploadTest, ReportsARefusal) {
  OneAnswerServer server({answer("400 Bad Request", R"({"error":"digest mismatch"})")});
  const auto result = ApiClient(server.address()).upload_blob(Digest(), file_, [](std::uint64_t) {});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message, "digest mismatch");
}

TEST_F(UploadTest, ReportsAMissingFile) {
  const auto result = ApiClient(HostAddress()).upload_blob(Digest(), file_ / "none", [](std::uint64_t) {});
  ASSERT_FALSE(result.ok());
  EXPECT_TRUE(result.error().message.starts_with("open "));
}

TEST_F(UploadTest, AsksWhetherABlobIsThere) {
  OneAnswerServer has({"HTTP/1.1 200 OK\r\n\r\n"});
  EXPECT_TRUE(*ApiClient(has.address()).has_blob(Digest()));
  OneAnswerServer has_not({"HTTP/1.1 404 Not Found\r\n\r\n"});
  EXPECT_FALSE(*ApiClient(has_not.address()).has_blob(Digest()));
  OneAnswerServer refuses({"HTTP/1.1 400 Bad Request\r\n\r\n"});
  EXPECT_FALSE(ApiClient(refuses.address()).has_blob(Digest()).ok());
}

}  // namespace
}  // namespace drover::cli
