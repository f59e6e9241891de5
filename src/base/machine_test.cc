#include "base/machine.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

TEST(ProcessorTimes, AreReadFromProc) {
  const auto times = parse_processor_times(
      "cpu  10 1 5 80 4 0 0 0 3 0\ncpu0 5 0 3 40 2 0 0 0 0 0\ncpu1 5 1 2 40 2 0 0 0 0 0\nintr 5\n");
  ASSERT_TRUE(times);
  EXPECT_EQ(times->cores, 2);
  EXPECT_EQ(times->busy, 16u);
  EXPECT_EQ(times->all, 100u);
  EXPECT_FALSE(parse_processor_times("intr 5\n"));
  EXPECT_FALSE(parse_processor_times("cpu  10\n"));
}

TEST(ProcessorTimes, TellTheShareThatWasBusy) {
  const ProcessorTimes before{100, 1000, 4};
  EXPECT_EQ(busy_share(before, {150, 1200, 4}), 0.25);
  EXPECT_EQ(busy_share(before, before), std::nullopt);
  EXPECT_EQ(busy_share(before, {50, 1200, 4}), std::nullopt);
}

}  // namespace
}  // namespace drover
