// An event loop for HTTP requests, one or thousands at once.
//
// One thread, no locks. It costs little per request and per piece of an answer: hundreds of streams are one epoll set.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "net/failure.h"

namespace drover::net {

struct HttpCall {
  std::string method = "GET";
  std::string url;
  std::string body;                      // JSON; empty: none is sent
  std::vector<std::string> headers;      // "Name: value"
  std::chrono::milliseconds timeout{0};  // of the whole exchange; 0: none
  std::string unix_socket;               // the path of the server's socket; the URL's host is a formality then
  // Gives the body instead, piece by piece, up to `body_bytes`. Called inside of libcurl, so it may not call the loop.
  // nullopt ends the call.
  std::function<std::optional<std::size_t>(char* into, std::size_t bytes_max)> source;
  std::uint64_t body_bytes = 0;
};

struct HttpEnd {
  int status = 0;  // 0: no answer began
  Failure failure = Failure::kNone;
  std::string text;  // what failed, in a few words; empty if nothing did
};

class HttpLoop {
 public:
  // Whoever waits for an answer. It must live until on_end() has been called or the call has been canceled, and is not
  // touched afterwards.
  class Receiver {
   public:
    virtual ~Receiver() = default;
    // A piece of the body, and when it arrived. May not call the loop.
    virtual void on_bytes(int status, std::string_view bytes, TimePoint when) = 0;
    // The last call. May start further calls.
    virtual void on_end(const HttpEnd& end, TimePoint when) = 0;
  };

  HttpLoop();
  ~HttpLoop();  // as cancel_all()
  HttpLoop(const HttpLoop&) = delete;
  HttpLoop& operator=(const HttpLoop&) = delete;

  // Begins with the next turn(). Connections are kept and used again.
  void start(HttpCall call, Receiver& receiver);
  // Closes the connections of all calls; no receiver hears of it.
  void cancel_all();
  std::size_t running() const;

  // Has `on_readable` called whenever the file can be read, until the loop ends. The file is not owned.
  void watch(int file, std::function<void()> on_readable);

  // Waits until something happens, but not past `until`, and handles it. A signal that is handled ends the wait too.
  void turn(TimePoint until);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct HttpAnswer {
  int status = 0;
  std::string body;
};

// One call and its whole answer, of whatever status. `go_on` is asked about ten times a second. Errors: kUnavailable
// (no connection, or it broke), kTimedOut, kTooLarge (more than `bytes_max`), kCanceled (`go_on` said no).
Result<HttpAnswer> fetch(HttpLoop& loop, HttpCall call, std::size_t bytes_max, const std::function<bool()>& go_on);

// Whether the server of such a URL is on this machine, as far as its name says.
bool is_loopback_url(std::string_view url);

}  // namespace drover::net
