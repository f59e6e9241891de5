#include "registry/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace drover::registry {
namespace {

using V6 = std::array<std::uint8_t, 16>;

bool in_network(std::uint32_t address, std::uint32_t network, int bits) {
  return address >> (32 - bits) == network >> (32 - bits);
}

AddressKind kind_of_v4(std::uint32_t address) {
  if (in_network(address, 0x7f000000, 8) || in_network(address, 0x00000000, 8)) return AddressKind::kLoopback;
  if (in_network(address, 0xa9fe0000, 16)) return AddressKind::kLinkLocal;
  if (in_network(address, 0x0a000000, 8) || in_network(address, 0xac100000, 12) ||
      in_network(address, 0xc0a80000, 16) || in_network(address, 0x64400000, 10)) {
    return AddressKind::kPrivate;
  }
  if (address >= 0xe0000000) return AddressKind::kOther;
  return AddressKind::kPublic;
}

AddressKind kind_of_v6(const V6& bytes) {
  const auto starts_with = [&](std::initializer_list<int> prefix) {
    return std::equal(prefix.begin(), prefix.end(), bytes.begin(), [](int a, std::uint8_t b) { return a == b; });
  };
  const auto embedded = [&] {
    return kind_of_v4(static_cast<std::uint32_t>(bytes[12]) << 24 | static_cast<std::uint32_t>(bytes[13]) << 16 |
                      static_cast<std::uint32_t>(bytes[14]) << 8 | bytes[15]);
  };
  if (starts_with({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff})) return embedded();
  if (starts_with({0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0})) return embedded();
  if (std::all_of(bytes.begin(), bytes.end() - 1, [](std::uint8_t byte) { return byte == 0; }) && bytes.back() <= 1) {
    return AddressKind::kLoopback;
  }
  if (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) return AddressKind::kLinkLocal;
  if (starts_with({0xfd, 0x00, 0x0e, 0xc2})) return AddressKind::kLinkLocal;  // where a cloud puts its metadata
  if ((bytes[0] & 0xfe) == 0xfc) return AddressKind::kPrivate;
  if ((bytes[0] & 0xe0) != 0x20) return AddressKind::kOther;
  return AddressKind::kPublic;
}

}  // namespace

std::string_view to_string(AddressKind kind) {
  switch (kind) {
    case AddressKind::kPublic:
      return "public";
    case AddressKind::kPrivate:
      return "private";
    case AddressKind::kLinkLocal:
      return "link-local";
    case AddressKind::kLoopback:
      return "loopback";
    case AddressKind::kOther:
      break;
  }
  return "reserved";
}

AddressKind kind_of(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof(v4));
    return kind_of_v4(ntohl(v4.sin_addr.s_addr));
  }
  if (address.sa_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof(v6));
    V6 bytes{};
    std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
    return kind_of_v6(bytes);
  }
  return AddressKind::kOther;
}

std::optional<AddressKind> kind_of_text(std::string_view text) {
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') text = text.substr(1, text.size() - 2);
  const std::string host(text.substr(0, text.find('%')));  // without a zone
  in_addr v4{};
  if (::inet_aton(host.c_str(), &v4) != 0) return kind_of_v4(ntohl(v4.s_addr));  // "127.1" and "0x7f000001" as well
  V6 bytes{};
  if (::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1) return kind_of_v6(bytes);
  return std::nullopt;
}

}  // namespace drover::registry
