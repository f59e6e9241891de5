#include "http/client_budget.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/check.h"

namespace drover::http {
namespace {

// One address' share of the reserve.
constexpr std::size_t kProbeShare = 4;
constexpr std::size_t kNetworkBytes = 8;  // of an IPv6 address
constexpr std::chrono::nanoseconds kNoEnd = std::chrono::nanoseconds::max();

}  // namespace

std::string network_of(const std::string& address) {
  in6_addr parts{};
  if (address.find(':') == std::string::npos || ::inet_pton(AF_INET6, address.c_str(), &parts) != 1) return address;
  std::memset(parts.s6_addr + kNetworkBytes, 0, sizeof parts.s6_addr - kNetworkBytes);
  char text[INET6_ADDRSTRLEN];
  ::inet_ntop(AF_INET6, &parts, text, sizeof text);
  return std::string(text) + "/64";
}

ClientBudget::Place ClientBudget::enter(const std::string& address) {
  const std::string client = network_of(address);
  Use& own = clients_[client];
  if (all_.connections < limits_.connections_max && own.connections < limits_.connections_per_client_max) {
    ++all_.connections;
    ++own.connections;
    return Place::kFull;
  }
  const std::size_t own_max = std::max<std::size_t>(1, limits_.probes_max / kProbeShare);
  if (all_.probes < limits_.probes_max && own.probes < own_max) {
    ++all_.probes;
    ++own.probes;
    return Place::kProbe;
  }
  forget_if_unused(client);
  return Place::kNone;
}

void ClientBudget::leave(const std::string& address, Place place) {
  if (place == Place::kNone) return;
  const auto member = place == Place::kFull ? &Use::connections : &Use::probes;
  const std::string client = network_of(address);
  Use& own = clients_[client];
  DROVER_CHECK(own.*member > 0 && all_.*member > 0);
  --(own.*member);
  --(all_.*member);
  forget_if_unused(client);
}

bool ClientBudget::take(const std::string& address, Resource resource, std::size_t amount) {
  if (amount == 0) return true;
  const auto which = static_cast<std::size_t>(resource);
  const Bounds bounds = bounds_of(resource);
  if (amount > bounds.all - std::min(bounds.all, all_.taken[which])) return false;
  const std::string client = network_of(address);
  Use& own = clients_[client];
  if (amount > bounds.one_address - std::min(bounds.one_address, own.taken[which])) {
    forget_if_unused(client);
    return false;
  }
  own.taken[which] += amount;
  all_.taken[which] += amount;
  return true;
}

void ClientBudget::give_back(const std::string& address, Resource resource, std::size_t amount) {
  if (amount == 0) return;
  const auto which = static_cast<std::size_t>(resource);
  const std::string client = network_of(address);
  Use& own = clients_[client];
  DROVER_CHECK(own.taken[which] >= amount && all_.taken[which] >= amount);
  own.taken[which] -= amount;
  all_.taken[which] -= amount;
  forget_if_unused(client);
}

ClientBudget::Bounds ClientBudget::bounds_of(Resource resource) const {
  if (resource == Resource::kFiles) return {limits_.files_max, limits_.files_per_client_max};
  return {limits_.bodies_bytes_max, limits_.bodies_bytes_per_client_max};
}

void ClientBudget::forget_if_unused(const std::string& client) {
  if (const auto found = clients_.find(client); found != clients_.end() && found->second.none()) clients_.erase(found);
}

std::chrono::nanoseconds body_time_left(const ServerLimits& limits, std::chrono::nanoseconds waited,
                                        std::size_t bytes) {
  if (limits.body_bytes_per_second_min == 0) return kNoEnd;
  // Whole seconds, no more than some decades: this does not overflow.
  const auto earned = static_cast<std::int64_t>(
      std::min<std::size_t>(bytes / limits.body_bytes_per_second_min, std::numeric_limits<std::int32_t>::max()));
  return limits.body_grace + std::chrono::seconds(earned) - waited;
}

}  // namespace drover::http
