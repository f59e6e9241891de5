// Identifiers as types of their own, so that one cannot be passed for another.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace drover {

template <typename Tag, typename Int = std::uint64_t>
struct Id {
  Int value = 0;
  friend auto operator<=>(const Id&, const Id&) = default;
};

// A request for as long as this server runs; 0 is no request.
using RequestId = Id<struct RequestTag>;
// A runner process for as long as this server runs; never reused.
using RunnerId = Id<struct RunnerTag>;
// What one runner can serve: equal weights and adapters make one model, whatever names point at it.
using ModelId = Id<struct ModelTag, std::uint32_t>;

// Which requests are served before others; src/policy/fair_queue.h says how far.
enum class Priority { kHigh, kNormal, kLow };

}  // namespace drover

template <typename Tag, typename Int>
struct std::hash<drover::Id<Tag, Int>> {
  std::size_t operator()(const drover::Id<Tag, Int>& id) const noexcept { return std::hash<Int>{}(id.value); }
};
