// What all clients, and each address among them, may take of the server: connections, memory, files.
//
// Pure: no sockets, no clock. Every part of a body is counted as it comes, so that no sum of clients fills the memory.
// The addresses of one IPv6 network (/64) count as one, as every machine has that many: what one of them takes, all do.
// Addresses with a zone ("fe80::1%eth0") are those of neighbors, and each counts for itself.
#pragma once

#include <array>
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
  // What is counted beside connections: bytes of bodies and long heads, bytes of answers that wait to be read, files
  // that are open for a request.
  enum class Resource { kBodies, kAnswers, kFiles };
  static constexpr std::size_t kResources = 3;

  explicit ClientBudget(const ServerLimits& limits) : limits_(limits) {}

  // Takes a place for a connection from `address`. What is not kNone is given back with leave().
  Place enter(const std::string& address);
  void leave(const std::string& address, Place place);

  // Takes so many bytes or files. False: nothing was taken, there is too little for this address or in all.
  bool take(const std::string& address, Resource resource, std::size_t amount);
  void give_back(const std::string& address, Resource resource, std::size_t amount);

  std::size_t taken(Resource resource) const { return all_.taken[static_cast<std::size_t>(resource)]; }
  std::size_t addresses() const { return clients_.size(); }

 private:
  struct Use {
    std::size_t connections = 0;
    std::size_t probes = 0;
    std::array<std::size_t, kResources> taken{};
    bool none() const { return connections + probes == 0 && taken == decltype(taken){}; }
  };
  struct Bounds {
    std::size_t all;
    std::size_t one_address;
  };

  Bounds bounds_of(Resource resource) const;
  void forget_if_unused(const std::string& client);

  const ServerLimits limits_;
  Use all_;
  std::unordered_map<std::string, Use> clients_;  // those that use something
};

// Whom an address counts for: itself, or its IPv6 network ("2001:db8:0:1::/64").
std::string network_of(const std::string& address);

// How long a client may still be waited for whose body has brought `bytes` while it was waited for `waited`: 0 or less
// if it is slower than body_bytes_per_second_min, after body_grace.
std::chrono::nanoseconds body_time_left(const ServerLimits& limits, std::chrono::nanoseconds waited, std::size_t bytes);

}  // namespace drover::http
