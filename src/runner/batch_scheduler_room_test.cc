// What the batch scheduler does when the cells do not suffice.
#include <gtest/gtest.h>

#include "runner/batch_scheduler_herd.h"

namespace drover {
namespace {

TEST(BatchSchedulerRoom, KeptPrefixesMakeRoomForRunningSequences) {
  Herd herd(config(4, 300));
  for (int n = 1; n <= 3; ++n) {
    herd.add(n, range(1000 * n, 90));
    herd.finish(n, 1);
  }
  EXPECT_EQ(herd.scheduler.view().cells_kept, 270);
  herd.add(4, range(9000, 250));
  herd.run_until(4, 5);
  EXPECT_EQ(herd.scheduler.stats(id(4)).preempted, 0);
}

TEST(BatchSchedulerRoom, WhenTheCellsAreFullTheNewestIsPreemptedAndNobodyFails) {
  constexpr int kStreams = 4;
  constexpr int kOutputs = 400;
  Herd herd(config(kStreams, 768));
  for (int n = 0; n < kStreams; ++n) herd.add(n, range(1000 * (n + 1), 20));
  bool preempted = false;
  std::vector<int> finished;
  for (int steps = 0; finished.size() < kStreams && steps < 5000; ++steps) {
    ASSERT_TRUE(herd.step());
    preempted |= herd.scheduler.view().preempted > 0;
    for (int n = 0; n < kStreams; ++n) {
      if (herd.outputs[n] < kOutputs || herd.tokens.count(n) == 0) continue;
      finished.push_back(n);
      EXPECT_LE(herd.scheduler.stats(id(n)).preempted, 2) << "request " << n;
      if (n == 0) {
        EXPECT_EQ(herd.scheduler.stats(id(n)).preempted, 0);
      }
      herd.remove(n);
    }
  }
  EXPECT_TRUE(preempted);
  EXPECT_EQ(finished, (std::vector{0, 1, 2, 3}));
  EXPECT_LE(herd.engine.rows_computed(), kStreams * (kOutputs + 20) + 600);  // little was computed twice
}

TEST(BatchSchedulerRoom, APreemptedSequenceGoesOnWithWhatIsLeftOfIt) {
  Herd herd(config(2, 200));
  herd.add(1, range(1000, 80));
  herd.add(2, range(2000, 80));
  while (herd.scheduler.view().preempted == 0) ASSERT_TRUE(herd.step());
  const int tokens_of_2 = static_cast<int>(herd.tokens[2].size());
  herd.remove(1);
  const auto before = herd.engine.rows_computed();
  herd.run_until(2, herd.outputs[2] + 1);
  EXPECT_EQ(herd.scheduler.stats(id(2)).preempted, 1);
  EXPECT_LE(herd.engine.rows_computed() - before, 64 + 1);
  EXPECT_GT(tokens_of_2, 95);
}

TEST(BatchSchedulerRoom, WhatIsKeptForAPreemptedSequenceGoesLast) {
  Herd herd(config(3, 300));
  herd.add(1, range(1000, 140));
  herd.add(2, range(2000, 20));
  herd.add(3, range(3000, 100));
  while (herd.scheduler.view().preempted == 0) ASSERT_TRUE(herd.step());
  herd.remove(2);  // kept from now on, used more recently than what is left of the preempted one
  for (int i = 0; i < 80; ++i) herd.step();
  EXPECT_EQ(herd.scheduler.view().preempted, 1);
  EXPECT_EQ(herd.scheduler.view().cells_kept, 49);
  const int cached = herd.scheduler.stats(id(3)).cached_tokens;
  herd.remove(1);
  const auto before = herd.engine.rows_computed();
  herd.run_until(3, herd.outputs[3] + 1);
  EXPECT_LE(herd.engine.rows_computed() - before, 70);
  EXPECT_EQ(herd.scheduler.stats(id(3)).cached_tokens, cached);  // of the first time
}

TEST(BatchSchedulerRoom, WhatWasKeptForACanceledOneIsNothingSpecial) {
  Herd herd(config(2, 300));
  herd.add(1, range(1000, 120));
  herd.add(2, range(2000, 120));
  while (herd.scheduler.view().preempted == 0) ASSERT_TRUE(herd.step());
  herd.remove(2);
  herd.step();
  const std::vector<Token> first = herd.tokens[1];
  herd.remove(1);
  herd.add(3, range(5000, 100));
  herd.run_until(3, 1);
  herd.remove(3);
  herd.add(4, first);
  herd.step();
  EXPECT_EQ(herd.scheduler.stats(id(4)).cached_tokens, static_cast<int>(first.size()) - 1);
}

TEST(BatchSchedulerRoom, WhatAShiftLeavesGoesFirst) {
  Herd herd(config(2, 300));
  herd.add(9, range(9000, 100));
  herd.finish(9, 1);
  herd.add(1, range(1000, 100));
  herd.run_until(1, 1);
  herd.replace(1, range(5000, 30));
  herd.run_until(1, herd.outputs[1] + 1);
  herd.add(2, range(2000, 80));
  herd.run_until(2, 1);
  herd.remove(2);
  herd.add(3, range(9000, 101));
  herd.run_until(3, 1);
  EXPECT_EQ(herd.scheduler.stats(id(3)).cached_tokens, 100);
}

// Without some slack a preempted sequence would come back only to be preempted again.
TEST(BatchSchedulerRoom, WhoeverComesInHasRoomToGrow) {
  Herd herd(config(2, 256));
  herd.add(1, range(1000, 100));
  herd.run_until(1, 1);
  herd.add(2, range(2000, 150));
  for (int i = 0; i < 30; ++i) herd.step();
  EXPECT_EQ(herd.scheduler.view().running, 1);
  herd.remove(1);
  herd.run_until(2, 30);
  EXPECT_EQ(herd.scheduler.stats(id(2)).preempted, 0);
}

TEST(BatchSchedulerRoom, AnOlderPromptTakesTheRoomOfANewerOne) {
  Herd herd(config(2, 300));
  herd.add(1, range(1000, 20));
  herd.run_until(1, 1);
  herd.add(2, range(2000, 200));
  herd.step();
  herd.replace(1, range(5000, 280));
  herd.run_until(1, herd.outputs[1] + 2);
  EXPECT_EQ(herd.scheduler.stats(id(1)).preempted, 0);
  EXPECT_EQ(herd.scheduler.stats(id(2)).preempted, 1);
  herd.remove(1);
  herd.run_until(2, 2);
}

// An engine with fewer cells than it says: what is kept must really go for the step to be computed.
TEST(BatchSchedulerRoom, KeptPrefixesGoWhenTheEngineIsShortOfCells) {
  SchedulerConfig lying = config(2, 300);
  Herd herd(lying, 200);
  herd.add(9, range(9000, 100));
  herd.finish(9, 1);
  herd.add(1, range(1000, 150));
  herd.run_until(1, 20);
  EXPECT_EQ(herd.scheduler.stats(id(1)).preempted, 0);
}

TEST(BatchSchedulerRoom, APromptThatDoesNotFitYetHoldsUpThoseBehindIt) {
  Herd herd(config(4, 400));
  herd.add(1, range(1000, 200));
  herd.run_until(1, 1);
  herd.add(2, range(2000, 300));
  herd.add(3, range(3000, 20));
  for (int i = 0; i < 20; ++i) herd.step();
  EXPECT_EQ(herd.scheduler.view().running, 1);
  EXPECT_EQ(herd.scheduler.stats(id(1)).preempted, 0);
  herd.replace(1, range(1000, 50));  // now it fits
  herd.run_until(2, 1);
  EXPECT_GT(herd.outputs[1], 20);
  herd.remove(1);
  herd.run_until(3, 1);
}

TEST(BatchSchedulerRoom, TheOldestTakesTheWholePoolIfItNeedsTo) {
  Herd herd(config(3, 256));
  herd.add(1, range(1000, 100));
  herd.add(2, range(2000, 40));
  herd.add(3, range(3000, 40));
  herd.run_until(3, 1);
  while (herd.scheduler.tokens(id(1)).size() < 256) {
    const int before = herd.outputs[1];
    ASSERT_TRUE(herd.step());
    ASSERT_EQ(herd.outputs[1], before + 1);
  }
  ASSERT_TRUE(herd.step());
  herd.replace(1, range(1000, 50));
  herd.finish(2, 50);
  herd.finish(3, 50);
}

TEST(BatchSchedulerRoom, RoomThatTheEngineDoesNotHaveIsMade) {
  Herd herd(config(3, 300));
  herd.add(9, range(9000, 60));
  herd.finish(9, 1);
  for (int n = 1; n <= 3; ++n) herd.add(n, range(1000 * n, 30));
  for (int n = 1; n <= 3; ++n) herd.run_until(n, 2);
  EXPECT_GT(herd.scheduler.view().cells_kept, 0);
  for (int i = 0; i < 12; ++i) {
    herd.engine.fail_next(DecodeStatus::kNoRoom);
    ASSERT_TRUE(herd.step());
  }
  // Down to the least there is: one row of the oldest.
  ASSERT_TRUE(herd.step());
  EXPECT_EQ(herd.last.rows.size(), 1U);
  EXPECT_EQ(herd.last.output_of, std::vector{id(1)});
  for (int n = 1; n <= 3; ++n) herd.run_until(n, 30);
}

TEST(BatchSchedulerRoom, AnAbortedStepIsPlannedAgain) {
  Herd herd(config());
  herd.add(1, range(0, 100));
  herd.engine.fail_next(DecodeStatus::kAborted);
  herd.step();
  const Step aborted = herd.last;
  herd.step();
  EXPECT_EQ(herd.last.rows, aborted.rows);
  herd.run_until(1, 3);
}

TEST(BatchSchedulerRoom, SlotsCanBeAllSequences) {
  SchedulerConfig few = config(3, 500);
  few.engine.seqs = 3;
  Herd herd(few);
  for (int n = 0; n < 30; ++n) {
    herd.add(n, joined(range(0, 10 + n), range(1000 * (n + 1), 20)));
    if (n >= 2) herd.finish(n - 2, 3);
  }
}

}  // namespace
}  // namespace drover
