#include "runner/batch_scheduler.h"

#include <gtest/gtest.h>

#include "runner/batch_scheduler_fixture.h"

namespace drover {
namespace {

TEST(BatchScheduler, NothingToDoIsAnEmptyStep) {
  SchedulerFixture fixture(config());
  EXPECT_FALSE(fixture.step());
  fixture.remove(7);
  EXPECT_FALSE(fixture.step());
  EXPECT_TRUE(fixture.scheduler.tokens(id(7)).empty());
}

TEST(BatchScheduler, ASequenceIsComputedInPartsAndThenTokenByToken) {
  SchedulerFixture fixture(config());
  fixture.add(1, range(0, 100));
  fixture.step();
  EXPECT_EQ(fixture.last.rows.size(), 64U);
  EXPECT_TRUE(fixture.last.output_of.empty());
  EXPECT_EQ(fixture.last.prompts_of, std::vector{id(1)});
  fixture.step();
  EXPECT_EQ(fixture.last.rows.size(), 36U);
  EXPECT_EQ(fixture.last.output_of, std::vector{id(1)});
  EXPECT_EQ(fixture.last.prompts_of, std::vector{id(1)});
  fixture.step();
  EXPECT_EQ(fixture.last.rows.size(), 1U);
  EXPECT_TRUE(fixture.last.prompts_of.empty());
  EXPECT_EQ(fixture.scheduler.tokens(id(1)).size(), 102U);
}

TEST(BatchScheduler, AnEndedSequenceCanBeAskedForUntilTheNextPlan) {
  SchedulerFixture fixture(config(1));
  fixture.add(1, range(0, 10));
  fixture.end_next = 1;
  fixture.step();
  EXPECT_EQ(fixture.scheduler.tokens(id(1)).size(), 10U);
  EXPECT_EQ(fixture.scheduler.stats(id(1)).prompt_tokens, 10);
  fixture.add(2, range(500, 5));  // its slot is free
  fixture.step();
  EXPECT_TRUE(fixture.scheduler.tokens(id(1)).empty());
  fixture.remove(1);
  EXPECT_EQ(fixture.scheduler.view().cells_kept, 10);
}

TEST(BatchSchedulerSharing, RequestsThatArriveTogetherComputeTheirPrefixOnce) {
  constexpr int kRequests = 8;
  constexpr int kPrefix = 600;
  constexpr int kOwn = 25;
  SchedulerFixture fixture(config(kRequests));
  for (int n = 0; n < kRequests; ++n) fixture.add(n, joined(range(0, kPrefix), range(1000 * (n + 1), kOwn)));
  for (int n = 0; n < kRequests; ++n) fixture.run_until(n, 1);
  int prompts = 0;
  for (int n = 0; n < kRequests; ++n) {
    prompts += kPrefix + kOwn;
    prompts -= fixture.scheduler.stats(id(n)).cached_tokens;
    if (n > 0) {
      EXPECT_EQ(fixture.scheduler.stats(id(n)).cached_tokens, kPrefix);
    }
  }
  EXPECT_EQ(prompts, kPrefix + kRequests * kOwn);
  int streamed = 0;
  for (const auto& [n, count] : fixture.outputs) streamed += count - 1;
  EXPECT_EQ(fixture.engine.rows_computed(), prompts + streamed);
  EXPECT_EQ(fixture.scheduler.view().cells_shared, kPrefix);
}

TEST(BatchSchedulerSharing, WhatFollowsASharedPrefixIsComputedTogether) {
  SchedulerConfig large = config(8);
  large.engine.step_tokens_max = 512;
  SchedulerFixture fixture(large);
  for (int n = 0; n < 8; ++n) fixture.add(n, joined(range(0, 600), range(1000 * (n + 1), 25)));
  for (const std::size_t rows : {64, 128, 256, 152, 200}) {
    fixture.step();
    EXPECT_EQ(fixture.last.rows.size(), rows);
  }
  EXPECT_EQ(fixture.last.output_of.size(), 8U);
}

TEST(BatchSchedulerSharing, TheSamePromptsTogetherDifferInOneToken) {
  SchedulerFixture fixture(config(4));
  for (int n = 0; n < 4; ++n) fixture.add(n, range(0, 50));
  fixture.step();
  EXPECT_EQ(fixture.last.rows.size(), 49U);
  fixture.step();
  EXPECT_EQ(fixture.last.rows.size(), 4U);
  EXPECT_EQ(fixture.last.output_of.size(), 4U);
}

TEST(BatchSchedulerSharing, ALeaderThatMakesProgressIsWaitedForHoweverLongItTakes) {
  SchedulerConfig limited = config();
  limited.shared_wait_steps_max = 2;
  SchedulerFixture fixture(limited);
  for (int n = 1; n <= 2; ++n) fixture.add(n, joined(range(0, 1000), range(1000 * n, 10)));
  fixture.run_until(2, 1);
  EXPECT_EQ(fixture.scheduler.stats(id(2)).cached_tokens, 1000);
}

TEST(BatchSchedulerSharing, AReplacedSequenceWaitsNoLonger) {
  SchedulerFixture fixture(config());
  for (int n = 1; n <= 2; ++n) fixture.add(n, joined(range(0, 1000), range(2000 * n, 10)));
  fixture.step();
  EXPECT_EQ(fixture.scheduler.view().running, 1);
  fixture.replace(2, range(7000, 20));
  fixture.step();
  EXPECT_EQ(fixture.outputs[2], 1);
}

TEST(BatchSchedulerSharing, APrefixInComputationIsWaitedForAlsoByLateComers) {
  SchedulerFixture fixture(config());
  fixture.add(1, joined(range(0, 300), range(1000, 100)));
  fixture.step();
  fixture.add(2, joined(range(0, 300), range(2000, 10)));
  fixture.step();
  EXPECT_EQ(fixture.scheduler.view().running, 1);
  fixture.run_until(2, 1);
  EXPECT_EQ(fixture.scheduler.stats(id(2)).cached_tokens, 300);
  EXPECT_EQ(fixture.outputs[1], 0);  // the fork did not wait for the rest of the other's prompt
}

TEST(BatchSchedulerSharing, AFewTokensAreNotWaitedFor) {
  SchedulerFixture fixture(config());
  fixture.add(1, joined(range(0, 4), range(1000, 20)));
  fixture.add(2, joined(range(0, 4), range(2000, 20)));
  fixture.step();
  EXPECT_EQ(fixture.last.output_of.size(), 2U);
}

TEST(BatchSchedulerSharing, AStalledLeaderIsWaitedForOnlySoLong) {
  SchedulerConfig limited = config();
  limited.shared_wait_steps_max = 5;
  SchedulerFixture fixture(limited);
  fixture.add(1, joined(range(0, 300), range(1000, 10)));
  fixture.add(2, joined(range(0, 300), range(2000, 10)));
  for (int i = 0; i < 6; ++i) {
    fixture.engine.fail_next(DecodeStatus::kAborted);
    fixture.step();
    EXPECT_EQ(fixture.scheduler.view().running, 1);
  }
  fixture.step();
  EXPECT_EQ(fixture.scheduler.view().running, 2);
  fixture.run_until(1, 3);
  fixture.run_until(2, 3);
}

TEST(BatchSchedulerSharing, WhenTheLeaderIsCanceledItsPartIsUsed) {
  SchedulerFixture fixture(config());
  for (int n = 1; n <= 3; ++n) fixture.add(n, joined(range(0, 300), range(1000 * n, 10)));
  fixture.step();
  fixture.step();
  fixture.remove(1);
  fixture.run_until(2, 1);
  EXPECT_EQ(fixture.scheduler.stats(id(2)).cached_tokens, 128);
  fixture.run_until(3, 1);
  EXPECT_EQ(fixture.scheduler.stats(id(3)).cached_tokens, 300);  // it waited on, for the next one
}

TEST(BatchSchedulerSharing, ACanceledPromptsRetryStartsWhereItStopped) {
  SchedulerFixture fixture(config());
  fixture.add(1, range(0, 600));
  for (int i = 0; i < 5; ++i) fixture.step();
  fixture.remove(1);
  fixture.add(2, range(0, 600));
  fixture.run_until(2, 1);
  EXPECT_EQ(fixture.scheduler.stats(id(2)).cached_tokens, 5 * 64);
  EXPECT_EQ(fixture.engine.rows_computed(), 600);
}

TEST(BatchSchedulerSharing, TheNextTurnOfAConversationComputesOnlyWhatIsNew) {
  SchedulerFixture fixture(config());
  fixture.add(1, range(0, 50));
  fixture.run_until(1, 20);
  std::vector<Token> next = joined(fixture.tokens[1], range(3000, 7));
  fixture.remove(1);
  fixture.add(2, next);
  fixture.step();
  EXPECT_TRUE(fixture.last.operations.empty());  // it goes on in the sequence
  EXPECT_EQ(fixture.last.rows.size(), 8U);       // the last token of the answer was never computed
  EXPECT_EQ(fixture.scheduler.stats(id(2)).cached_tokens, 69);
}

TEST(BatchSchedulerSharing, TheSamePromptAgainComputesOneToken) {
  SchedulerFixture fixture(config());
  fixture.add(1, range(0, 50));
  fixture.finish(1, 5);
  fixture.add(2, range(0, 50));
  fixture.step();
  EXPECT_EQ(fixture.last.rows.size(), 1U);
  EXPECT_EQ(fixture.last.output_of, std::vector{id(2)});
  EXPECT_EQ(fixture.scheduler.stats(id(2)).cached_tokens, 49);
}

TEST(BatchSchedulerSharing, AShiftedContextKeepsItsBeginning) {
  SchedulerFixture fixture(config());
  fixture.add(1, range(0, 200));
  fixture.run_until(1, 5);
  const auto before = fixture.engine.rows_computed();
  fixture.replace(1, joined(range(0, 80), range(120, 60)));
  fixture.run_until(1, 6);
  EXPECT_EQ(fixture.engine.rows_computed() - before, 60);
  fixture.run_until(1, 10);
}

TEST(BatchSchedulerBudget, FullBatchesWhileNobodyGenerates) {
  SchedulerFixture fixture(config());
  for (int n = 1; n <= 4; ++n) fixture.add(n, range(1000 * n, 40));
  fixture.step();
  EXPECT_EQ(fixture.last.rows.size(), 64U);
}

TEST(BatchSchedulerBudget, StreamsHaveTheirTokenInEachStep) {
  SchedulerConfig limited = config(4);
  limited.engine.step_tokens_max = 512;
  SchedulerFixture fixture(limited);
  for (int n = 1; n <= 3; ++n) fixture.add(n, range(5000 * n, 10));
  while (fixture.outputs[3] < 3) ASSERT_TRUE(fixture.step(milliseconds(9)));
  fixture.add(4, range(50000, 1200));
  const auto before = fixture.outputs;
  int steps = 0;
  std::size_t most = 0;
  int tries = 0;
  while (fixture.outputs[4] == 0) {
    ASSERT_TRUE(fixture.step(milliseconds(9)));
    most = std::max(most, fixture.last.rows.size());
    if (fixture.last.rows.size() > 32) ++tries;
    ++steps;
    for (int n = 1; n <= 3; ++n) ASSERT_EQ(fixture.outputs[n], before.at(n) + steps);
  }
  EXPECT_LE(most, 64U);  // a tile, to see what that takes
  EXPECT_LE(tries, 6);   // the other steps have 32 rows, which take 8 times what four streams take
  EXPECT_LE(fixture.last.rows.size(), 32U);
  EXPECT_LE(steps, 1200 / 8 + 20);
}

TEST(BatchSchedulerBudget, ThoseThatComeTogetherBeginTogether) {
  SchedulerConfig limited = config(8);
  limited.engine.step_tokens_max = 512;
  SchedulerFixture fixture(limited);
  fixture.add(0, range(900, 60));
  ASSERT_TRUE(fixture.step(milliseconds(9)));
  EXPECT_EQ(fixture.outputs[0], 1);
  for (int n = 1; n <= 2; ++n) fixture.add(n, range(1000 * n, 58));
  ASSERT_TRUE(fixture.step(milliseconds(9)));
  EXPECT_EQ(fixture.last.rows.size(), 1U + 2 * 58U);  // the first one's second token, and both prompts
  EXPECT_EQ(fixture.outputs[0], 2);
  EXPECT_EQ(fixture.outputs[2], 1);
  fixture.add(3, range(3000, 60));
  ASSERT_TRUE(fixture.step(milliseconds(9)));
  EXPECT_EQ(fixture.outputs[0], 3);
  EXPECT_LE(fixture.last.rows.size(), 3U + 32U);  // from here on the first one's pace counts
  EXPECT_EQ(fixture.outputs[3], 0);
}

TEST(BatchSchedulerBudget, AShortPromptIsNotStuckBehindALongOne) {
  SchedulerFixture fixture(config(4));
  fixture.add(1, range(10000, 2000));
  fixture.step();
  fixture.add(2, range(20000, 30));
  fixture.step();
  EXPECT_EQ(fixture.outputs[2], 1);
  EXPECT_EQ(fixture.outputs[1], 0);
}

TEST(BatchSchedulerBudget, ALongPromptIsNotStarvedByShortOnes) {
  SchedulerFixture fixture(config(4));
  fixture.add(1, range(10000, 640));
  int next = 2;
  int steps = 0;
  std::vector<int> live;
  while (fixture.outputs[1] == 0 && steps < 1000) {
    while (live.size() < 3) {
      fixture.add(next, range(20000 + 100 * next, 60));
      live.push_back(next++);
    }
    fixture.step();
    ++steps;
    std::erase_if(live, [&](int n) {
      if (fixture.outputs[n] == 0) return false;
      fixture.remove(n);
      return true;
    });
  }
  EXPECT_EQ(fixture.outputs[1], 1);
  EXPECT_LE(steps, 640 / 16 + 5);  // a quarter of each step
}

TEST(BatchSchedulerWhole, NothingIsSharedButAConversationGoesOn) {
  SchedulerConfig whole = config(3, 600);
  whole.engine.memory = MemoryKind::kWhole;
  whole.engine.seqs = 4;
  SchedulerFixture fixture(whole);
  fixture.add(1, joined(range(0, 60), range(1000, 10)));
  fixture.add(2, joined(range(0, 60), range(2000, 10)));
  fixture.step();
  EXPECT_EQ(fixture.scheduler.view().running, 2);  // no use in waiting for a prefix
  fixture.run_until(1, 5);
  fixture.run_until(2, 5);
  EXPECT_EQ(fixture.scheduler.stats(id(2)).cached_tokens, 0);
  const int computed = static_cast<int>(fixture.tokens[1].size()) - 1;
  std::vector<Token> next = joined(fixture.tokens[1], range(3000, 5));
  fixture.remove(1);
  fixture.add(3, next);
  fixture.run_until(3, 5);
  EXPECT_EQ(fixture.scheduler.stats(id(3)).cached_tokens, computed);
  fixture.replace(3, joined(range(0, 30), range(7000, 20)));
  fixture.run_until(3, 10);
}

TEST(BatchSchedulerWhole, PreemptedSequencesAreComputedAnew) {
  SchedulerConfig whole = config(3, 256);
  whole.engine.memory = MemoryKind::kWhole;
  whole.engine.seqs = 3;
  SchedulerFixture fixture(whole);
  for (int n = 1; n <= 3; ++n) fixture.add(n, range(1000 * n, 60));
  fixture.finish(1, 100);
  fixture.finish(2, 100);
  fixture.finish(3, 100);
}

// ---- whether a cancel aborts the step

TEST(BatchSchedulerAbort, APromptThatDelaysOthersIsWorthIt) {
  SchedulerFixture fixture(config());
  fixture.add(1, range(0, 10));
  fixture.run_until(1, 2);
  fixture.add(2, range(1000, 100));
  for (int i = 0; i < 10 && fixture.last.prompts_of.empty(); ++i) fixture.step();
  EXPECT_EQ(fixture.last.prompts_of, std::vector{id(2)});
  EXPECT_EQ(fixture.last.abort_for, std::vector{id(2)});  // for the stream nothing is computed that could be saved
}

TEST(BatchSchedulerAbort, APromptThatDelaysNobodyIsFinished) {
  SchedulerFixture fixture(config());
  fixture.add(1, range(0, 100));
  fixture.step();
  EXPECT_EQ(fixture.last.prompts_of, std::vector{id(1)});
  EXPECT_TRUE(fixture.last.abort_for.empty());
}

TEST(BatchSchedulerAbort, WithOneSlotOthersMayWaitAtTheFront) {
  SchedulerFixture fixture(config(1));
  fixture.add(1, range(0, 100));
  fixture.step();
  EXPECT_EQ(fixture.last.abort_for, std::vector{id(1)});
}

TEST(BatchSchedulerAbort, AMemoryThatCannotBeRestoredIsLeftAlone) {
  SchedulerConfig whole = config(2);
  whole.engine.memory = MemoryKind::kWhole;
  SchedulerFixture fixture(whole);
  for (int n = 1; n <= 2; ++n) fixture.add(n, range(1000 * n, 30));
  fixture.step();
  EXPECT_EQ(fixture.last.prompts_of.size(), 2U);
  EXPECT_TRUE(fixture.last.abort_for.empty());
}

TEST(BatchScheduler, ASequenceHasOneState) {
  SchedulerFixture fixture(config(4, 300));
  for (int n = 1; n <= 2; ++n) fixture.add(n, joined(range(0, 100), range(1000 * n, 20)));
  EXPECT_EQ(fixture.scheduler.stats(id(1)).state, SequenceState::kWaiting);
  fixture.step();
  EXPECT_EQ(fixture.scheduler.stats(id(1)).state, SequenceState::kRunning);
  EXPECT_EQ(fixture.scheduler.stats(id(2)).state, SequenceState::kFollowing);
  fixture.run_until(2, 1);
  EXPECT_EQ(fixture.scheduler.stats(id(2)).state, SequenceState::kRunning);
  while (fixture.scheduler.view().preempted == 0) ASSERT_TRUE(fixture.step());
  EXPECT_EQ(fixture.scheduler.stats(id(2)).state, SequenceState::kPreempted);
  fixture.end_next = 1;
  ASSERT_TRUE(fixture.step());
  EXPECT_EQ(fixture.scheduler.stats(id(1)).state, SequenceState::kEnded);
}

}  // namespace
}  // namespace drover
