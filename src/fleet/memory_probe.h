// What memory all runners together may take: a share of what the system has to give, beside what they have already.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace drover {

class MemoryProbe {
 public:
  // Whether the last look was long enough ago.
  bool is_due(TimePoint now) const;
  // Looks again; `held`: bytes that the runners have. False: the system does not say.
  bool look(std::uint64_t held, TimePoint now);
  // As it was found last; 0: not yet.
  std::uint64_t bytes_max() const { return bytes_max_; }

 private:
  TimePoint looked_{};
  std::uint64_t bytes_max_ = 0;
};

}  // namespace drover
