// What all clients, and each address among them, may take of the server: connections, and memory for bodies.
//
// Pure: no sockets, no clock. Every part of a body is counted as it comes, so that no sum of clients fills the memory.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>

#include "http/server.h"

namespace drover::http {

class ClientBudget {
 public:
  // How a new connection is treated. A probe's place is one of a small reserve beyond the others' limit: so a full
  // server still says that it lives.
  enum class Place { kFull, kProbe, kNone };

  explicit ClientBudget(const ServerLimits& limits) : limits_(limits) {}

  // Takes a place for a connection from `address`. What is not kNone is given back with leave().
  Place enter(const std::string& address);
  void leave(const std::string& address, Place place);

  // Takes memory for `bytes` of a body. False: nothing was taken, there is too little for this address or in all.
  bool take(const std::string& address, std::size_t bytes);
  void give_back(const std::string& address, std::size_t bytes);

  std::size_t body_bytes() const { return all_.body_bytes; }
  std::size_t addresses() const { return clients_.size(); }

 private:
  struct Use {
    std::size_t connections = 0;
    std::size_t probes = 0;
    std::size_t body_bytes = 0;
    bool none() const { return connections + probes + body_bytes == 0; }
  };

  void forget_if_unused(const std::string& address);

  const ServerLimits limits_;
  Use all_;
  std::unordered_map<std::string, Use> clients_;  // those that use something
};

// How long a client may still be waited for whose body has brought `bytes` while it was waited for `waited`: 0 or less
// if it is slower than body_bytes_per_second_min, after body_grace.
std::chrono::nanoseconds body_time_left(const ServerLimits& limits, std::chrono::nanoseconds waited, std::size_t bytes);

}  // namespace drover::http
