#include "fleet/log_allowance.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart = TimePoint(1h);
constexpr std::size_t kText = 120;
constexpr std::size_t kCost = kText + LogAllowance::kLineBytes;

TEST(LogAllowance, ABurstIsTakenAndWhatFollowsIsCounted) {
  LogAllowance allowance;
  std::size_t taken = 0;
  while (allowance.takes(kText, kStart)) ++taken;
  EXPECT_EQ(taken, LogAllowance::kBurstBytes / kCost);
  for (int i = 0; i < 99; ++i) EXPECT_FALSE(allowance.takes(kText, kStart));
  EXPECT_EQ(allowance.take_left_out(), 100u);
  EXPECT_EQ(allowance.take_left_out(), 0u);
}

TEST(LogAllowance, GoesOnAfterAPauseAndNotBetweenAnyTwoLines) {
  LogAllowance allowance;
  TimePoint now = kStart;
  while (allowance.takes(kText, now)) {
  }
  EXPECT_FALSE(allowance.takes(kText, now + 1s));
  EXPECT_TRUE(allowance.takes(kText, now + 10s));
  EXPECT_EQ(allowance.take_left_out(), 2u);
}

TEST(LogAllowance, ForAnHourOfSpewingItIsABurstAndItsRate) {
  LogAllowance allowance;
  std::size_t bytes = 0;
  for (Duration at = 0s; at < 1h; at += 5ms) {
    if (allowance.takes(kText, kStart + at)) bytes += kCost;
    allowance.take_left_out();
  }
  EXPECT_LE(bytes, LogAllowance::kBurstBytes + 3600 * LogAllowance::kBytesPerSecond);
}

}  // namespace
}  // namespace drover
