// Which kind of network an address belongs to: what decides whether a registry may send us there.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>
#include <string_view>

namespace drover::registry {

enum class AddressKind {
  kPublic,     // the internet
  kPrivate,    // a site's own network: RFC 1918, unique local, carrier-grade NAT
  kLinkLocal,  // the machine's own segment, where clouds answer with credentials (169.254.169.254)
  kLoopback,   // this machine; the unspecified address too, which leads there
  kOther,      // multicast, broadcast and what is reserved: nobody serves models there
};

std::string_view to_string(AddressKind kind);

// IPv4 addresses within IPv6 ones (mapped, NAT64) count as what they are. kOther for other families.
AddressKind kind_of(const sockaddr& address);

// The kind of a numeric address, with or without brackets. nullopt: it is a name, or no address at all.
std::optional<AddressKind> kind_of_text(std::string_view text);

}  // namespace drover::registry
