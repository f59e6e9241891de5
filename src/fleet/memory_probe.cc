#include "fleet/memory_probe.h"

#include "base/system_memory.h"

namespace drover {
namespace {

// Of the memory that is to be had; the rest is left to the front and to everybody else.
constexpr double kMemoryShare = 0.9;
constexpr auto kInterval = std::chrono::seconds(1);

}  // namespace

bool MemoryProbe::is_due(TimePoint now) const {
  return looked_ == TimePoint{} || now - looked_ >= kInterval;
}

bool MemoryProbe::look(std::uint64_t held, TimePoint now) {
  looked_ = now;
  const std::uint64_t available = available_memory_bytes();
  if (available == 0) return false;
  bytes_max_ = held + static_cast<std::uint64_t>(static_cast<double>(available) * kMemoryShare);
  return true;
}

}  // namespace drover
