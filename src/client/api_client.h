// Talks to a Drover (or Ollama) server over HTTP, one request at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/settings.h"
#include "client/json.h"
#include "net/http_loop.h"
#include "store/digest.h"

namespace drover::cli {

// The most that is kept of an answer: the whole body, or in a stream one line.
inline constexpr std::size_t kAnswerBytesMax = 256u << 20;

// One client for one server, with one request at a time; used by one thread, which every callback runs on.
//
// Errors of all calls: kUnavailable (no connection; the text names the server's address), kNotFound (404),
// kInvalidArgument (400), kCanceled (on_tick said so), kInternal and others for what else went wrong. If the server
// explained itself, the text is the server's.
class ApiClient {
 public:
  // Called about 20 times a second while a request is under way. Returning false closes the connection: the request
  // ends with kCanceled, and the server notices that its client has left.
  using Tick = std::function<bool()>;
  // Called with each object of a stream.
  using OnObject = std::function<void(const Json&)>;

  explicit ApiClient(const HostAddress& server);

  // Succeeds if something answers there.
  Result<void> check_reachable();

  // One request, one JSON answer (null if the body is empty).
  Result<Json> get(const std::string& path);
  Result<Json> post(const std::string& path, const Json& body);
  Result<Json> remove(const std::string& path, const Json& body);

  // POST with a stream of JSON lines as answer. A line {"error": …} ends it with that error.
  Result<void> stream(const std::string& path, const Json& body, const OnObject& on_object, const Tick& on_tick);

  Result<bool> has_blob(const Digest& digest);
  // Sends the file. `on_progress` is told how many bytes are sent, at least as often as a Tick.
  Result<void> upload_blob(const Digest& digest, const std::filesystem::path& file,
                           const std::function<void(std::uint64_t)>& on_progress);

 private:
  class Received;

  net::HttpCall call(const char* method, const std::string& path) const;
  Result<void> run(net::HttpCall call, Received& received, const std::function<Result<void>()>& between);
  Result<Json> exchange(net::HttpCall call);

  std::string url_;
  std::string socket_path_;  // of a Unix socket, or empty
  net::HttpLoop loop_;
};

}  // namespace drover::cli
