#include "runner/slot_count.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

namespace drover {
namespace {

using Curve = std::function<double(int)>;  // tokens per second in all, by number of streams
constexpr int kMost = 16;

double linear(int streams) {
  return 10.0 * streams;
}
double saturating(int streams) {
  return 10.0 * std::min(streams, 6);
}
double falling(int streams) {
  return streams <= 4 ? 10.0 * streams : std::max(40.0 - 5.0 * (streams - 4), 5.0);
}
double one_only(int streams) {
  return 20.0 - streams;
}

// A machine that steps follow a curve on, with noise, and more requests than slots. Streams come and go: now and then
// a slot is empty for a while.
class Machine {
 public:
  Machine(std::uint64_t seed, double noise) : random_(seed), noise_(noise) {}

  void step(SlotCount& count, const Curve& curve) {
    if (random_() % 20 == 0) missing_ = static_cast<int>(random_() % 3);
    const int streams = std::max(1, count.slots() - missing_);
    std::lognormal_distribution<double> noise(0.0, noise_);
    double seconds = streams / curve(streams) * noise(random_);
    if (random_() % 100 == 0) seconds *= 10;  // something else held the machine up
    count.observe(streams, std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds)));
  }

  // What the number of slots gave, on average, of the most that the curve has to give; and the number itself.
  struct Outcome {
    double share;
    double slots;
  };
  Outcome run(SlotCount& count, const Curve& curve, int settle_steps = 5000, int steps = 20000) {
    for (int i = 0; i < settle_steps; ++i) step(count, curve);
    double best = 0;
    for (int n = 1; n <= kMost; ++n) best = std::max(best, curve(n));
    Outcome sum = {0, 0};
    for (int i = 0; i < steps; ++i) {
      step(count, curve);
      sum.share += curve(count.slots()) / best;
      sum.slots += count.slots();
    }
    return {sum.share / steps, sum.slots / steps};
  }

 private:
  std::mt19937_64 random_;
  const double noise_;
  int missing_ = 0;
};

class SlotCountCurves : public testing::TestWithParam<std::tuple<int, double>> {
 protected:
  Machine machine_{static_cast<std::uint64_t>(std::get<0>(GetParam())), std::get<1>(GetParam())};
  SlotCount count_{SlotCount::Mode::kMeasured, 4, kMost};
};

TEST_P(SlotCountCurves, TakesAllWhereEachGivesMore) {
  EXPECT_GT(machine_.run(count_, linear).share, 0.93);
}

TEST_P(SlotCountCurves, StopsWhereMoreGiveNothing) {
  const auto outcome = machine_.run(count_, saturating);
  EXPECT_GT(outcome.share, 0.93);
  EXPECT_LT(outcome.slots, 10.5) << "they would only make each stream slower";
}

TEST_P(SlotCountCurves, GoesBackWhereMoreGiveLess) {
  EXPECT_GT(machine_.run(count_, falling).share, 0.90);
}

TEST_P(SlotCountCurves, ComesDownToOne) {
  const auto outcome = machine_.run(count_, one_only);
  EXPECT_GT(outcome.share, 0.90);
  EXPECT_LT(outcome.slots, 2.5);
}

// Another program takes most of the machine, and leaves again.
TEST_P(SlotCountCurves, FollowsAMachineThatChanges) {
  EXPECT_GT(machine_.run(count_, linear).share, 0.93);
  EXPECT_GT(machine_.run(count_, falling, 20000).share, 0.85);
  EXPECT_GT(machine_.run(count_, linear, 40000).share, 0.90);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SlotCountCurves,
                         testing::Combine(testing::Range(1, 21), testing::Values(0.02, 0.1, 0.2)));

TEST(SlotCount, FixedStaysAsItIs) {
  SlotCount count(SlotCount::Mode::kFixed, 4, 4);
  Machine machine(1, 0.1);
  for (int i = 0; i < 5000; ++i) {
    machine.step(count, falling);
    count.observe_preempted(2);
    ASSERT_EQ(count.slots(), 4);
  }
}

// Without enough requests to fill the slots nothing is learned about more of them, and nothing is tried.
TEST(SlotCount, NothingIsTriedWhileSlotsAreFree) {
  SlotCount count(SlotCount::Mode::kMeasured, 4, kMost);
  for (int i = 0; i < 5000; ++i) {
    count.observe(1 + i % 3, std::chrono::milliseconds(10));
    ASSERT_EQ(count.slots(), 4);
  }
}

TEST(SlotCount, NeverLeavesItsBounds) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    std::mt19937_64 random(seed);
    const int most = 1 + static_cast<int>(random() % 20);
    SlotCount count(SlotCount::Mode::kMeasured, 1 + static_cast<int>(random() % most), most);
    for (int i = 0; i < 3000; ++i) {
      const bool full = random() % 4 != 0;
      count.observe(full ? count.slots() : static_cast<int>(random() % 40), std::chrono::microseconds(random() % 9000));
      if (random() % 500 == 0) count.observe_preempted(static_cast<int>(random() % 20));
      ASSERT_GE(count.slots(), 1);
      ASSERT_LE(count.slots(), most);
    }
  }
}

// Memory holds five of them: that is found out again from time to time, and otherwise five or fewer run.
TEST(SlotCount, StaysBelowWhatMemoryHolds) {
  SlotCount count(SlotCount::Mode::kMeasured, 4, kMost);
  int preempted = 0;
  constexpr int kSteps = 50000;
  for (int i = 0; i < kSteps; ++i) {
    const int streams = count.slots();
    if (streams > 5) {
      count.observe_preempted(6);
      ++preempted;
    } else {
      count.observe(streams, std::chrono::milliseconds(10));
    }
  }
  EXPECT_LT(preempted, 60);
  EXPECT_GE(count.slots(), 3);
}

TEST(SlotCount, RisesAgainOnceMemoryHasCome) {
  SlotCount count(SlotCount::Mode::kMeasured, 4, kMost);
  count.observe_preempted(3);
  EXPECT_EQ(count.slots(), 2);
  for (int i = 0; i < 50000; ++i) count.observe(count.slots(), std::chrono::milliseconds(10));
  EXPECT_GE(count.slots(), 8);
}

}  // namespace
}  // namespace drover
