// The batch scheduler under random load. `batch_sim` runs a million steps over many seeds; `batch_sim --seed S` runs
// one again, `--steps N` sets how many steps in all.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string_view>

#include "batch_world.h"

namespace drover {
namespace {

constexpr int kStepsPerSeed = 2000;
std::optional<std::uint64_t> only_seed;
std::int64_t steps_wanted = 1'000'000;

TEST(BatchSim, KeepsItsPromises) {
  std::int64_t steps = 0;
  BatchWorld::Counts all;
  for (std::uint64_t seed = only_seed.value_or(1); steps < steps_wanted; ++seed) {
    BatchWorld world(seed);
    const std::string broken = world.run(kStepsPerSeed);
    ASSERT_EQ(broken, "") << "replay with: batch_sim --seed " << seed;
    const BatchWorld::Counts& counts = world.counts();
    steps += counts.busy_steps;
    all.requests += counts.requests;
    all.canceled += counts.canceled;
    all.replaced += counts.replaced;
    all.preempted += counts.preempted;
    all.cached_tokens += counts.cached_tokens;
    all.computed_tokens += counts.computed_tokens;
    all.failed_steps += counts.failed_steps;
    all.aborted_steps += counts.aborted_steps;
    all.restored_tokens += counts.restored_tokens;
    all.lost_steps += counts.lost_steps;
    if (only_seed) break;
  }
  fmt::print(
      "{} steps, {} requests, {} canceled, {} replaced, {} preempted, {} failed steps, {} aborted, {} tokens computed, "
      "{} cached, {} "
      "restored, {} not restored\n",
      steps, all.requests, all.canceled, all.replaced, all.preempted, all.failed_steps, all.aborted_steps,
      all.computed_tokens, all.cached_tokens, all.restored_tokens, all.lost_steps);
  if (only_seed) return;
  EXPECT_GT(all.requests, steps / 100);
  EXPECT_GT(all.preempted, steps / 1000);
  EXPECT_GT(all.cached_tokens, all.computed_tokens / 10);
  EXPECT_GT(all.restored_tokens, all.computed_tokens / 100);
  EXPECT_GT(all.lost_steps, 0);
  EXPECT_GT(all.aborted_steps, steps / 100'000);
}

// Each mistake made on purpose must break a promise within the run it was made in.
class BatchSimMutation : public testing::TestWithParam<Mutation> {};

TEST_P(BatchSimMutation, IsNoticed) {
  int made = 0;
  for (std::uint64_t seed = 1; made < 20 && seed < 1000; ++seed) {
    BatchWorld world(seed, GetParam());
    const std::string broken = world.run(500);
    if (!world.mutated()) continue;
    ++made;
    EXPECT_NE(broken, "") << "seed " << seed;
  }
  EXPECT_EQ(made, 20);
}

INSTANTIATE_TEST_SUITE_P(All, BatchSimMutation,
                         testing::Values(Mutation::kDropCopy, Mutation::kShortCopy, Mutation::kOtherSource,
                                         Mutation::kDropRemoval, Mutation::kShortRemoval, Mutation::kDropRestore,
                                         Mutation::kShortRestore, Mutation::kOtherPiece, Mutation::kWrongPosition,
                                         Mutation::kWrongToken, Mutation::kSwapSeqs, Mutation::kAbortsNever,
                                         Mutation::kAbortsAlways));

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    if (name == "--seed") drover::only_seed = std::strtoull(argv[i + 1], nullptr, 10);
    if (name == "--steps") drover::steps_wanted = std::strtoll(argv[i + 1], nullptr, 10);
  }
  return RUN_ALL_TESTS();
}
