// How much of what a runner says the log takes: a burst, and then so many bytes a second. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/clock.h"

namespace drover {

class LogAllowance {
 public:
  static constexpr std::size_t kBurstBytes = 256 << 10;
  static constexpr std::size_t kBytesPerSecond = 8 << 10;
  static constexpr std::size_t kLineBytes = 80;  // that each line costs beside its text

  // Whether the log takes a line of so many bytes.
  bool takes(std::size_t bytes, TimePoint now);
  // How many lines it has not taken since this was asked last.
  std::uint64_t take_left_out() { return std::exchange(left_out_, 0); }

 private:
  double room_ = kBurstBytes;
  TimePoint at_{};
  std::uint64_t left_out_ = 0;
};

}  // namespace drover
