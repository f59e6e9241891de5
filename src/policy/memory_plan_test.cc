// Plans for memory as such: what makes room for what, and that a plan which is carried out is not turned round.
#include "policy/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace drover {
namespace {

using namespace std::chrono_literals;

constexpr Duration kResidence = 5s;
constexpr TimePoint kStart{1h};

Resident resident(std::uint64_t runner, std::int64_t bytes, Standing standing, Duration loaded_after = 0s) {
  return {RunnerId{runner}, {bytes, 1}, standing, kStart + loaded_after, kStart + loaded_after};
}

Want want(std::uint32_t model, std::int64_t bytes) {
  return {ModelId{model}, {bytes, 1}, kStart};
}

TEST(MemoryPlan, TakesWhatIsFree) {
  const auto plan = plan_memory({10, 3}, {}, std::vector{want(1, 6), want(2, 4), want(3, 1)}, kResidence, kStart);
  EXPECT_EQ(plan.start, (std::vector{ModelId{1}, ModelId{2}}));
}

TEST(MemoryPlan, IdleOnesGoBeforeBusyOnesAndTheDrainIsGivenUp) {
  const std::vector residents{resident(1, 4, Standing::kDraining), resident(2, 6, Standing::kIdle)};
  const auto plan = plan_memory({10, 9}, residents, std::vector{want(1, 5)}, kResidence, kStart + 1min);
  EXPECT_EQ(plan.evict, std::vector{RunnerId{2}});
  EXPECT_EQ(plan.recover, std::vector{RunnerId{1}});
  EXPECT_TRUE(plan.drain.empty());
}

TEST(MemoryPlan, NobodyLeavesForAWantThatCannotBeMetYet) {
  const std::vector residents{resident(1, 6, Standing::kBusy), resident(2, 2, Standing::kIdle, 1s)};
  const auto plan =
      plan_memory({10, 9}, residents, std::vector{want(1, 8), want(2, 5)}, kResidence, kStart + kResidence);
  EXPECT_EQ(plan.drain, std::vector{RunnerId{1}});
  EXPECT_TRUE(plan.evict.empty()) << "the first one needs the room of 1 only; the second one needs more than is left";
}

TEST(MemoryPlan, TurnsEndInTime) {
  const std::vector residents{resident(1, 10, Standing::kBusy)};
  const auto early = plan_memory({10, 9}, residents, std::vector{want(1, 8)}, kResidence, kStart + 1s);
  EXPECT_TRUE(early.drain.empty());
  EXPECT_EQ(early.due, kStart + kResidence);
  const auto late = plan_memory({10, 9}, residents, std::vector{want(1, 8)}, kResidence, early.due);
  EXPECT_EQ(late.drain, std::vector{RunnerId{1}});
}

// Found by seed 1896 of the simulation: two busy models, of which either will do beside one that loads, took turns at
// being drained.
TEST(MemoryPlan, DrainThatHasBegunIsNotGivenUpForAnother) {
  std::vector residents{resident(25, 518, Standing::kBusy, 1s), resident(27, 2816, Standing::kLoading),
                        resident(28, 2244, Standing::kBusy)};
  const std::vector wants{want(0, 3968)};
  std::vector<RunnerId> draining;
  for (int i = 0; i < 5; ++i) {
    const auto plan = plan_memory({6395, 9}, residents, wants, kResidence, kStart + 1min);
    if (i > 0) {
      EXPECT_EQ(plan.drain, draining);
      EXPECT_TRUE(plan.recover.empty());
    }
    draining = plan.drain;
    for (Resident& one : residents)
      if (std::find(draining.begin(), draining.end(), one.runner) != draining.end())
        one.standing = Standing::kDraining;
      else if (one.standing == Standing::kDraining)
        one.standing = Standing::kBusy;
  }
  EXPECT_FALSE(draining.empty());
}

}  // namespace
}  // namespace drover
