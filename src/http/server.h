// The HTTP server: connections, limits, disconnects. HTTP types stop here: what the API sees is an Exchange.
//
// Everything here runs on the one I/O thread (a boost::asio::io_context with a single thread), as C++20 coroutines.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace drover::http {

namespace asio = boost::asio;

using Headers = std::vector<std::pair<std::string, std::string>>;

// One request and its answer. A handler owns it for as long as its coroutine runs.
class Exchange {
 public:
  virtual ~Exchange() = default;

  // ---- the request
  virtual std::string_view method() const = 0;                       // "GET"
  virtual std::string_view path() const = 0;                         // percent-decoded, without the query: "/api/tags"
  virtual std::string_view query(std::string_view name) const = 0;   // decoded value of ?name=; empty if absent
  virtual std::string_view header(std::string_view name) const = 0;  // empty if absent; names ignore case
  virtual std::string_view parameter(std::string_view name) const = 0;  // what a route's :name matched
  virtual std::string_view remote_address()
      const = 0;  // numeric, without the port; IPv4 in IPv6 as IPv4; Unix: "uid:1000"

  // The whole body. Errors: kTooLarge if it is longer than bytes_max (nothing more is read then); kCanceled if the
  // client left; kTimedOut if it sent nothing for body_idle_timeout, or too little (body_grace); kInvalidArgument if
  // its chunks are malformed. The memory for it is counted until the request ends (see hold()); kUnavailable: there is
  // too little at the moment.
  virtual asio::awaitable<Result<std::string>> read_body(std::size_t bytes_max) = 0;
  // The next part of the body, for large uploads: bytes put into `into` (not empty), 0 at the end. Errors as above.
  virtual asio::awaitable<Result<std::size_t>> read_some_body(std::span<char> into) = 0;

  // Counts `bytes` more that the request takes, as of a body that was decompressed, against what all requests, and
  // those of this address, may take. Given back when the request ends. Error: kUnavailable.
  virtual Result<void> hold(std::size_t bytes) = 0;
  // The same for a file that is open until the request ends.
  virtual Result<void> hold_file() = 0;

  // ---- the answer: send() once, or begin(), write()…, finish()
  // HEAD requests get the same headers and no body. False: the client is gone; one that has only closed its own
  // direction is not. Date, Content-Type, Content-Length,
  // Transfer-Encoding and Connection are the server's: `headers` must not name them.
  // (Give `headers` as a variable: g++ 12 does not compile a braced list within co_await.)
  // A handler that ends without an answer, or throws before one,
  // answers 500 {"error":"internal error"}; one that ends between begin() and finish() aborts.

  // Adds a header to whatever answer follows, the server's own (404, 405, 500) included: for the guard.
  virtual void add_header(std::string name, std::string value) = 0;
  virtual asio::awaitable<bool> send(int status, std::string_view content_type, std::string body,
                                     Headers headers = {}) = 0;
  virtual asio::awaitable<bool> begin(int status, std::string_view content_type, Headers headers = {}) = 0;
  // One piece of the body, sent at once (chunked; for HTTP/1.0 raw until the connection closes). Suspends while the
  // client does not read. False: the client is gone.
  virtual asio::awaitable<bool> write(std::string_view piece) = 0;
  virtual asio::awaitable<bool> finish() = 0;
  // Ends the connection without finishing the answer, so that the client sees that it is cut.
  virtual void abort() = 0;
  virtual bool begun() const = 0;  // send() or begin() was called

  // ---- the client's end
  // Calls back, once, on the I/O thread, as soon as the client has closed its connection (a half-close does not count),
  // in any phase after the body was read; never from within a call of this interface. Set it again to replace it, or to
  // null to be left alone; it is dropped when the handler returns. It must not throw.
  //
  // A client that says it sends no more may be gone or wait for its answer. To tell the two apart it is sent
  // something that clients skip, which one that is gone refuses: a "100 Continue" before the answer begins, a comment
  // or a blank line in a stream of events or of JSON lines. With HTTP/1.0 and in other streams only what is written
  // tells.
  //
  // To notice this the server reads ahead. A client that pipelines more than 16 KiB behind a request that is still
  // being answered is not read any further, and then only a failing write tells.
  virtual void on_disconnect(std::function<void()> callback) = 0;
  virtual bool disconnected() const = 0;  // looks at the socket: right at any time after the body was read
};

using Handler = std::function<asio::awaitable<void>(Exchange&)>;

// Method and path pattern to handler. A pattern's ":name" segment matches one segment that is not empty; a last "*name"
// the rest, which may be empty and hold slashes ("/files/*name" matches "/files/" and "/files/a/b", not "/files").
// Where several match, the one whose first differing segment is the most literal wins, whatever the order of adding.
// HEAD finds a GET route if it has none of its own. A path that ends with a slash, and without it has a route, is
// answered by the server with 301 (GET) or 307 to that.
class Router {
 public:
  void add(std::string_view method, std::string_view pattern, Handler handler);
  struct Match {
    const Handler* handler = nullptr;  // null: see allowed
    std::vector<std::pair<std::string, std::string>> parameters;
    std::string allowed;  // methods of the path, for a 405's Allow: "GET, HEAD"; empty: 404
  };
  Match find(std::string_view method, std::string_view path) const;

 private:
  struct Route {
    std::string method;
    std::vector<std::string> segments;
    std::string rank;  // one letter a segment, in order of preference: less is better
    Handler handler;
  };
  std::vector<Route> routes_;
};

// Sizes in bytes; a timeout of 0 or less is none.
struct ServerLimits {
  std::size_t header_bytes_max = 64 << 10;              // a request's line and headers; more, or 256 fields: 431
  std::size_t connections_max = 10'000;                 // one more: 503, and closed
  std::size_t connections_per_client_max = 2'500;       // from one address or IPv6 network; one more: the same
  std::size_t probes_max = 64;                          // connections beyond these, for /healthz and /readyz alone
  std::size_t bodies_bytes_max = 512 << 20;             // that bodies and long heads under way take; more: 503
  std::size_t bodies_bytes_per_client_max = 256 << 20;  // the same for one address
  std::size_t files_max = 128;                          // open for uploads under way; more: 503
  std::size_t files_per_client_max = 64;                // the same for one address
  std::chrono::nanoseconds probe_timeout = std::chrono::seconds(2);       // as header_timeout, for those connections
  std::chrono::nanoseconds body_grace = std::chrono::seconds(30);         // after so long, a body that is slower than
  std::size_t body_bytes_per_second_min = 1 << 10;                        // so many, on average, is given up; 0: never
  std::chrono::nanoseconds header_timeout = std::chrono::seconds(30);     // for a request's line and headers
  std::chrono::nanoseconds body_idle_timeout = std::chrono::seconds(60);  // between two parts of a body
  std::chrono::nanoseconds write_idle_timeout =
      std::chrono::minutes(5);  // a client that takes nothing for so long is cut
  // The same where answers that wait to be read take as much memory as bodies may.
  std::chrono::nanoseconds unread_timeout = std::chrono::seconds(5);
  std::chrono::nanoseconds keep_alive_timeout = std::chrono::seconds(120);  // between two requests
};

// Listens, reads requests, runs the router's handlers. Before a handler, and before the route is looked up: `guard`, if
// set, may refuse a request from its headers alone (it sends the refusal itself and returns false), before the body is
// read. Handlers run as coroutines on `io` and may outlive the Server; what they use must outlive `io`'s run().
class Server {
 public:
  using Guard = std::function<asio::awaitable<bool>(Exchange&)>;
  Server(asio::io_context& io, Router router, ServerLimits limits, Guard guard = {});
  ~Server();

  // Binds and listens; the port 0 takes a free one. Error: kUnavailable with the reason, as "listen tcp
  // 127.0.0.1:11434: bind: address already in use". May be called more than once.
  Result<void> listen(const std::string& host, std::uint16_t port);
  // Listens on a Unix socket, in the place of one that nobody listens on any more. Who may connect is for the folder
  // and the umask to say.
  Result<void> listen_unix(const std::string& path);
  std::uint16_t port() const;  // of the first TCP listener
  std::size_t connections() const;
  // Ends listening. Connections that wait for a request are closed; those with one in progress close after its answer.
  void stop_listening();
  // Cuts every connection: handlers that still run see their client gone. Both may be called at any time, also twice.
  void close_all();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace drover::http
