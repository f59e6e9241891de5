// What the batch scheduler does when the cells do not suffice.
#include <gtest/gtest.h>

#include "runner/batch_scheduler_fixture.h"

namespace drover {
namespace {

TEST(BatchSchedulerRoom, KeptPrefixesMakeRoomForRunningSequences) {
  SchedulerFixture fixture(config(4, 300));
  for (int n = 1; n <= 3; ++n) {
    fixture.add(n, range(1000 * n, 90));
    fixture.finish(n, 1);
  }
  EXPECT_EQ(fixture.scheduler.view().cells_kept, 270);
  fixture.add(4, range(9000, 250));
  fixture.run_until(4, 5);
  EXPECT_EQ(fixture.scheduler.stats(id(4)).preempted, 0);
}

TEST(BatchSchedulerRoom, WhenTheCellsAreFullTheNewestIsPreemptedAndNobodyFails) {
  constexpr int kStreams = 4;
  constexpr int kOutputs = 400;
  SchedulerFixture fixture(config(kStreams, 768));
  for (int n = 0; n < kStreams; ++n) fixture.add(n, range(1000 * (n + 1), 20));
  bool preempted = false;
  std::vector<int> finished;
  for (int steps = 0; finished.size() < kStreams && steps < 5000; ++steps) {
    ASSERT_TRUE(fixture.step());
    preempted |= fixture.scheduler.view().preempted > 0;
    for (int n = 0; n < kStreams; ++n) {
      if (fixture.outputs[n] < kOutputs || fixture.tokens.count(n) == 0) continue;
      finished.push_back(n);
      EXPECT_LE(fixture.scheduler.stats(id(n)).preempted, 2) << "request " << n;
      if (n == 0) {
        EXPECT_EQ(fixture.scheduler.stats(id(n)).preempted, 0);
      }
      fixture.remove(n);
    }
  }
  EXPECT_TRUE(preempted);
  EXPECT_EQ(finished, (std::vector{0, 1, 2, 3}));
  EXPECT_LE(fixture.engine.rows_computed(), kStreams * (kOutputs + 20) + 600);  // little was computed twice
}

TEST(BatchSchedulerRoom, APreemptedSequenceGoesOnWithWhatIsLeftOfIt) {
  SchedulerFixture fixture(config(2, 200));
  fixture.add(1, range(1000, 80));
  fixture.add(2, range(2000, 80));
  while (fixture.scheduler.view().preempted == 0) ASSERT_TRUE(fixture.step());
  const int tokens_of_2 = static_cast<int>(fixture.tokens[2].size());
  fixture.remove(1);
  const auto before = fixture.engine.rows_computed();
  fixture.run_until(2, fixture.outputs[2] + 1);
  EXPECT_EQ(fixture.scheduler.stats(id(2)).preempted, 1);
  EXPECT_LE(fixture.engine.rows_computed() - before, 64 + 1);
  EXPECT_GT(tokens_of_2, 95);
}

TEST(BatchSchedulerRoom, WhatIsKeptForAPreemptedSequenceGoesLast) {
  SchedulerFixture fixture(config(3, 300));
  fixture.add(1, range(1000, 140));
  fixture.add(2, range(2000, 20));
  fixture.add(3, range(3000, 100));
  while (fixture.scheduler.view().preempted == 0) ASSERT_TRUE(fixture.step());
  fixture.remove(2);  // kept from now on, used more recently than what is left of the preempted one
  for (int i = 0; i < 80; ++i) fixture.step();
  EXPECT_EQ(fixture.scheduler.view().preempted, 1);
  EXPECT_EQ(fixture.scheduler.view().cells_kept, 49);
  const int cached = fixture.scheduler.stats(id(3)).cached_tokens;
  fixture.remove(1);
  const auto before = fixture.engine.rows_computed();
  fixture.run_until(3, fixture.outputs[3] + 1);
  EXPECT_LE(fixture.engine.rows_computed() - before, 70);
  EXPECT_EQ(fixture.scheduler.stats(id(3)).cached_tokens, cached);  // of the first time
}

TEST(BatchSchedulerRoom, WhatWasKeptForACanceledOneIsNothingSpecial) {
  SchedulerFixture fixture(config(2, 300));
  fixture.add(1, range(1000, 120));
  fixture.add(2, range(2000, 120));
  while (fixture.scheduler.view().preempted == 0) ASSERT_TRUE(fixture.step());
  fixture.remove(2);
  fixture.step();
  const std::vector<Token> first = fixture.tokens[1];
  fixture.remove(1);
  fixture.add(3, range(5000, 100));
  fixture.run_until(3, 1);
  fixture.remove(3);
  fixture.add(4, first);
  fixture.step();
  EXPECT_EQ(fixture.scheduler.stats(id(4)).cached_tokens, static_cast<int>(first.size()) - 1);
}

TEST(BatchSchedulerRoom, WhatAShiftLeavesGoesFirst) {
  SchedulerFixture fixture(config(2, 300));
  fixture.add(9, range(9000, 100));
  fixture.finish(9, 1);
  fixture.add(1, range(1000, 100));
  fixture.run_until(1, 1);
  fixture.replace(1, range(5000, 30));
  fixture.run_until(1, fixture.outputs[1] + 1);
  fixture.add(2, range(2000, 80));
  fixture.run_until(2, 1);
  fixture.remove(2);
  fixture.add(3, range(9000, 101));
  fixture.run_until(3, 1);
  EXPECT_EQ(fixture.scheduler.stats(id(3)).cached_tokens, 100);
}

// Without some slack a preempted sequence would come back only to be preempted again.
TEST(BatchSchedulerRoom, WhoeverComesInHasRoomToGrow) {
  SchedulerFixture fixture(config(2, 256));
  fixture.add(1, range(1000, 100));
  fixture.run_until(1, 1);
  fixture.add(2, range(2000, 150));
  for (int i = 0; i < 30; ++i) fixture.step();
  EXPECT_EQ(fixture.scheduler.view().running, 1);
  fixture.remove(1);
  fixture.run_until(2, 30);
  EXPECT_EQ(fixture.scheduler.stats(id(2)).preempted, 0);
}

TEST(BatchSchedulerRoom, AnOlderPromptTakesTheRoomOfANewerOne) {
  SchedulerFixture fixture(config(2, 300));
  fixture.add(1, range(1000, 20));
  fixture.run_until(1, 1);
  fixture.add(2, range(2000, 200));
  fixture.step();
  fixture.replace(1, range(5000, 280));
  fixture.run_until(1, fixture.outputs[1] + 2);
  EXPECT_EQ(fixture.scheduler.stats(id(1)).preempted, 0);
  EXPECT_EQ(fixture.scheduler.stats(id(2)).preempted, 1);
  fixture.remove(1);
  fixture.run_until(2, 2);
}

// An engine with fewer cells than it says: what is kept must really go for the step to be computed.
TEST(BatchSchedulerRoom, KeptPrefixesGoWhenTheEngineIsShortOfCells) {
  SchedulerConfig lying = config(2, 300);
  SchedulerFixture fixture(lying, 200);
  fixture.add(9, range(9000, 100));
  fixture.finish(9, 1);
  fixture.add(1, range(1000, 150));
  fixture.run_until(1, 20);
  EXPECT_EQ(fixture.scheduler.stats(id(1)).preempted, 0);
}

TEST(BatchSchedulerRoom, APromptThatDoesNotFitYetHoldsUpThoseBehindIt) {
  SchedulerFixture fixture(config(4, 400));
  fixture.add(1, range(1000, 200));
  fixture.run_until(1, 1);
  fixture.add(2, range(2000, 300));
  fixture.add(3, range(3000, 20));
  for (int i = 0; i < 20; ++i) fixture.step();
  EXPECT_EQ(fixture.scheduler.view().running, 1);
  EXPECT_EQ(fixture.scheduler.stats(id(1)).preempted, 0);
  fixture.replace(1, range(1000, 50));  // now it fits
  fixture.run_until(2, 1);
  EXPECT_GT(fixture.outputs[1], 20);
  fixture.remove(1);
  fixture.run_until(3, 1);
}

TEST(BatchSchedulerRoom, TheOldestTakesTheWholePoolIfItNeedsTo) {
  SchedulerFixture fixture(config(3, 256));
  fixture.add(1, range(1000, 100));
  fixture.add(2, range(2000, 40));
  fixture.add(3, range(3000, 40));
  fixture.run_until(3, 1);
  while (fixture.scheduler.tokens(id(1)).size() < 256) {
    const int before = fixture.outputs[1];
    ASSERT_TRUE(fixture.step());
    ASSERT_EQ(fixture.outputs[1], before + 1);
  }
  ASSERT_TRUE(fixture.step());
  fixture.replace(1, range(1000, 50));
  fixture.finish(2, 50);
  fixture.finish(3, 50);
}

TEST(BatchSchedulerRoom, RoomThatTheEngineDoesNotHaveIsMade) {
  SchedulerFixture fixture(config(3, 300));
  fixture.add(9, range(9000, 60));
  fixture.finish(9, 1);
  for (int n = 1; n <= 3; ++n) fixture.add(n, range(1000 * n, 30));
  for (int n = 1; n <= 3; ++n) fixture.run_until(n, 2);
  EXPECT_GT(fixture.scheduler.view().cells_kept, 0);
  for (int i = 0; i < 12; ++i) {
    fixture.engine.fail_next(DecodeStatus::kNoRoom);
    ASSERT_TRUE(fixture.step());
  }
  // Down to the least there is: one row of the oldest.
  ASSERT_TRUE(fixture.step());
  EXPECT_EQ(fixture.last.rows.size(), 1U);
  EXPECT_EQ(fixture.last.output_of, std::vector{id(1)});
  for (int n = 1; n <= 3; ++n) fixture.run_until(n, 30);
}

TEST(BatchSchedulerRoom, AnAbortedStepIsPlannedAgain) {
  SchedulerFixture fixture(config());
  fixture.add(1, range(0, 100));
  fixture.engine.fail_next(DecodeStatus::kAborted);
  fixture.step();
  const Step aborted = fixture.last;
  fixture.step();
  EXPECT_EQ(fixture.last.rows, aborted.rows);
  fixture.run_until(1, 3);
}

TEST(BatchSchedulerRoom, SlotsCanBeAllSequences) {
  SchedulerConfig few = config(3, 500);
  few.engine.seqs = 3;
  SchedulerFixture fixture(few);
  for (int n = 0; n < 30; ++n) {
    fixture.add(n, joined(range(0, 10 + n), range(1000 * (n + 1), 20)));
    if (n >= 2) fixture.finish(n - 2, 3);
  }
}

}  // namespace
}  // namespace drover
