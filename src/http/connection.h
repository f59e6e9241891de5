// A client's connection: its requests, one after another, each given to the guard and to the router's handler.
//
// Used on the I/O thread. Owned by its own coroutine; the server only knows of it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>

#include "http/client_budget.h"
#include "http/client_socket.h"
#include "http/server.h"

namespace drover::http {

class Connection;
class HttpExchange;

inline constexpr std::string_view kTooManyConnections =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 32\r\n"
    "Retry-After: 1\r\nConnection: close\r\n\r\n{\"error\":\"too many connections\"}";

// What the server and its connections share; lives as long as any of them.
struct ServerState {
  Router router;
  ServerLimits limits;
  Server::Guard guard;
  ClientBudget budget;
  bool stopping = false;                        // connections end after the request they are at
  std::unordered_set<Connection*> connections;  // each enters and leaves by itself
};

class Connection {
 public:
  // remote_address: what Exchange::remote_address() says.
  // place: what the budget gave it; this gives it back.
  Connection(StreamSocket socket, std::string remote_address, ClientBudget::Place place,
             std::shared_ptr<ServerState> state);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Serves requests until the connection ends, and ends it. Keeps the connection alive meanwhile.
  static asio::awaitable<void> run(std::unique_ptr<Connection> self);

  // Ends the connection if it waits for a request's first byte.
  void close_if_idle();
  // Ends the connection; a handler that runs sees its client gone.
  void cut();

 private:
  asio::awaitable<bool> await_request(TimePoint deadline);
  asio::awaitable<bool> serve_request();
  asio::awaitable<void> serve_probe();
  asio::awaitable<void> answer(HttpExchange& exchange);
  asio::awaitable<void> route(HttpExchange& exchange);
  std::string location_of(const HttpExchange& exchange) const;

  const std::shared_ptr<ServerState> state_;
  const std::shared_ptr<ClientSocket> socket_;
  const std::string remote_address_;
  const ClientBudget::Place place_;
  bool idle_ = false;
  bool upload_ = false;       // its head was fine: the client is to read the answer when it has sent all of it
  bool body_unread_ = false;  // the last request's: the client may still be sending it
};

}  // namespace drover::http
