#include "http/client_budget.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace drover::http {
namespace {

// One address' share of the reserve.
constexpr std::size_t kProbeShare = 4;
constexpr std::chrono::nanoseconds kNoEnd = std::chrono::nanoseconds::max();

}  // namespace

ClientBudget::Place ClientBudget::enter(const std::string& address) {
  Use& own = clients_[address];
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
  forget_if_unused(address);
  return Place::kNone;
}

void ClientBudget::leave(const std::string& address, Place place) {
  if (place == Place::kNone) return;
  const auto member = place == Place::kFull ? &Use::connections : &Use::probes;
  Use& own = clients_[address];
  DROVER_CHECK(own.*member > 0 && all_.*member > 0);
  --(own.*member);
  --(all_.*member);
  forget_if_unused(address);
}

bool ClientBudget::take(const std::string& address, std::size_t bytes) {
  if (bytes == 0) return true;
  if (bytes > limits_.bodies_bytes_max - std::min(limits_.bodies_bytes_max, all_.body_bytes)) return false;
  Use& own = clients_[address];
  const std::size_t own_max = limits_.bodies_bytes_per_client_max;
  if (bytes > own_max - std::min(own_max, own.body_bytes)) {
    forget_if_unused(address);
    return false;
  }
  own.body_bytes += bytes;
  all_.body_bytes += bytes;
  return true;
}

void ClientBudget::give_back(const std::string& address, std::size_t bytes) {
  if (bytes == 0) return;
  Use& own = clients_[address];
  DROVER_CHECK(own.body_bytes >= bytes && all_.body_bytes >= bytes);
  own.body_bytes -= bytes;
  all_.body_bytes -= bytes;
  forget_if_unused(address);
}

void ClientBudget::forget_if_unused(const std::string& address) {
  if (const auto found = clients_.find(address); found != clients_.end() && found->second.none()) clients_.erase(found);
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
