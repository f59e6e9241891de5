#include "runner/batch_scheduler.h"

#include <gtest/gtest.h>

#include "runner/batch_scheduler_herd.h"

namespace drover {
namespace {

TEST(BatchScheduler, NothingToDoIsAnEmptyStep) {
  Herd herd(config());
  EXPECT_FALSE(herd.step());
  herd.remove(7);
  EXPECT_FALSE(herd.step());
  EXPECT_TRUE(herd.scheduler.tokens(id(7)).empty());
}

TEST(BatchScheduler, ASequenceIsComputedInPartsAndThenTokenByToken) {
  Herd herd(config());
  herd.add(1, range(0, 100));
  herd.step();
  EXPECT_EQ(herd.last.rows.size(), 64U);
  EXPECT_TRUE(herd.last.output_of.empty());
  EXPECT_EQ(herd.last.prompts_of, std::vector{id(1)});
  herd.step();
  EXPECT_EQ(herd.last.rows.size(), 36U);
  EXPECT_EQ(herd.last.output_of, std::vector{id(1)});
  EXPECT_EQ(herd.last.prompts_of, std::vector{id(1)});
  herd.step();
  EXPECT_EQ(herd.last.rows.size(), 1U);
  EXPECT_TRUE(herd.last.prompts_of.empty());
  EXPECT_EQ(herd.scheduler.tokens(id(1)).size(), 102U);
}

TEST(BatchScheduler, AnEndedSequenceCanBeAskedForUntilTheNextPlan) {
  Herd herd(config(1));
  herd.add(1, range(0, 10));
  herd.end_next = 1;
  herd.step();
  EXPECT_EQ(herd.scheduler.tokens(id(1)).size(), 10U);
  EXPECT_EQ(herd.scheduler.stats(id(1)).prompt_tokens, 10);
  herd.add(2, range(500, 5));  // its slot is free
  herd.step();
  EXPECT_TRUE(herd.scheduler.tokens(id(1)).empty());
  herd.remove(1);
  EXPECT_EQ(herd.scheduler.view().cells_kept, 10);
}

TEST(BatchSchedulerSharing, RequestsThatArriveTogetherComputeTheirPrefixOnce) {
  constexpr int kRequests = 8;
  constexpr int kPrefix = 600;
  constexpr int kOwn = 25;
  Herd herd(config(kRequests));
  for (int n = 0; n < kRequests; ++n) herd.add(n, joined(range(0, kPrefix), range(1000 * (n + 1), kOwn)));
  for (int n = 0; n < kRequests; ++n) herd.run_until(n, 1);
  int prompts = 0;
  for (int n = 0; n < kRequests; ++n) {
    prompts += kPrefix + kOwn;
    prompts -= herd.scheduler.stats(id(n)).cached_tokens;
    if (n > 0) {
      EXPECT_EQ(herd.scheduler.stats(id(n)).cached_tokens, kPrefix);
    }
  }
  EXPECT_EQ(prompts, kPrefix + kRequests * kOwn);
  int streamed = 0;
  for (const auto& [n, count] : herd.outputs) streamed += count - 1;
  EXPECT_EQ(herd.engine.rows_computed(), prompts + streamed);
  EXPECT_EQ(herd.scheduler.view().cells_shared, kPrefix);
}

TEST(BatchSchedulerSharing, WhatFollowsASharedPrefixIsComputedTogether) {
  SchedulerConfig large = config(8);
  large.engine.step_tokens_max = 512;
  Herd herd(large);
  for (int n = 0; n < 8; ++n) herd.add(n, joined(range(0, 600), range(1000 * (n + 1), 25)));
  for (const std::size_t rows : {64, 128, 256, 152, 200}) {
    herd.step();
    EXPECT_EQ(herd.last.rows.size(), rows);
  }
  EXPECT_EQ(herd.last.output_of.size(), 8U);
}

TEST(BatchSchedulerSharing, TheSamePromptsTogetherDifferInOneToken) {
  Herd herd(config(4));
  for (int n = 0; n < 4; ++n) herd.add(n, range(0, 50));
  herd.step();
  EXPECT_EQ(herd.last.rows.size(), 49U);
  herd.step();
  EXPECT_EQ(herd.last.rows.size(), 4U);
  EXPECT_EQ(herd.last.output_of.size(), 4U);
}

TEST(BatchSchedulerSharing, ALeaderThatMakesProgressIsWaitedForHoweverLongItTakes) {
  SchedulerConfig limited = config();
  limited.shared_wait_steps_max = 2;
  Herd herd(limited);
  for (int n = 1; n <= 2; ++n) herd.add(n, joined(range(0, 1000), range(1000 * n, 10)));
  herd.run_until(2, 1);
  EXPECT_EQ(herd.scheduler.stats(id(2)).cached_tokens, 1000);
}

TEST(BatchSchedulerSharing, AReplacedSequenceWaitsNoLonger) {
  Herd herd(config());
  for (int n = 1; n <= 2; ++n) herd.add(n, joined(range(0, 1000), range(2000 * n, 10)));
  herd.step();
  EXPECT_EQ(herd.scheduler.view().running, 1);
  herd.replace(2, range(7000, 20));
  herd.step();
  EXPECT_EQ(herd.outputs[2], 1);
}

TEST(BatchSchedulerSharing, APrefixInComputationIsWaitedForAlsoByLateComers) {
  Herd herd(config());
  herd.add(1, joined(range(0, 300), range(1000, 100)));
  herd.step();
  herd.add(2, joined(range(0, 300), range(2000, 10)));
  herd.step();
  EXPECT_EQ(herd.scheduler.view().running, 1);
  herd.run_until(2, 1);
  EXPECT_EQ(herd.scheduler.stats(id(2)).cached_tokens, 300);
  EXPECT_EQ(herd.outputs[1], 0);  // the fork did not wait for the rest of the other's prompt
}

TEST(BatchSchedulerSharing, AFewTokensAreNotWaitedFor) {
  Herd herd(config());
  herd.add(1, joined(range(0, 4), range(1000, 20)));
  herd.add(2, joined(range(0, 4), range(2000, 20)));
  herd.step();
  EXPECT_EQ(herd.last.output_of.size(), 2U);
}

TEST(BatchSchedulerSharing, AStalledLeaderIsWaitedForOnlySoLong) {
  SchedulerConfig limited = config();
  limited.shared_wait_steps_max = 5;
  Herd herd(limited);
  herd.add(1, joined(range(0, 300), range(1000, 10)));
  herd.add(2, joined(range(0, 300), range(2000, 10)));
  for (int i = 0; i < 6; ++i) {
    herd.engine.fail_next(DecodeStatus::kAborted);
    herd.step();
    EXPECT_EQ(herd.scheduler.view().running, 1);
  }
  herd.step();
  EXPECT_EQ(herd.scheduler.view().running, 2);
  herd.run_until(1, 3);
  herd.run_until(2, 3);
}

TEST(BatchSchedulerSharing, WhenTheLeaderIsCanceledItsPartIsUsed) {
  Herd herd(config());
  for (int n = 1; n <= 3; ++n) herd.add(n, joined(range(0, 300), range(1000 * n, 10)));
  herd.step();
  herd.step();
  herd.remove(1);
  herd.run_until(2, 1);
  EXPECT_EQ(herd.scheduler.stats(id(2)).cached_tokens, 128);
  herd.run_until(3, 1);
  EXPECT_EQ(herd.scheduler.stats(id(3)).cached_tokens, 300);  // it waited on, for the next one
}

TEST(BatchSchedulerSharing, ACanceledPromptsRetryStartsWhereItStopped) {
  Herd herd(config());
  herd.add(1, range(0, 600));
  for (int i = 0; i < 5; ++i) herd.step();
  herd.remove(1);
  herd.add(2, range(0, 600));
  herd.run_until(2, 1);
  EXPECT_EQ(herd.scheduler.stats(id(2)).cached_tokens, 5 * 64);
  EXPECT_EQ(herd.engine.rows_computed(), 600);
}

TEST(BatchSchedulerSharing, TheNextTurnOfAConversationComputesOnlyWhatIsNew) {
  Herd herd(config());
  herd.add(1, range(0, 50));
  herd.run_until(1, 20);
  std::vector<Token> next = joined(herd.tokens[1], range(3000, 7));
  herd.remove(1);
  herd.add(2, next);
  herd.step();
  EXPECT_TRUE(herd.last.operations.empty());  // it goes on in the sequence
  EXPECT_EQ(herd.last.rows.size(), 8U);       // the last token of the answer was never computed
  EXPECT_EQ(herd.scheduler.stats(id(2)).cached_tokens, 69);
}

TEST(BatchSchedulerSharing, TheSamePromptAgainComputesOneToken) {
  Herd herd(config());
  herd.add(1, range(0, 50));
  herd.finish(1, 5);
  herd.add(2, range(0, 50));
  herd.step();
  EXPECT_EQ(herd.last.rows.size(), 1U);
  EXPECT_EQ(herd.last.output_of, std::vector{id(2)});
  EXPECT_EQ(herd.scheduler.stats(id(2)).cached_tokens, 49);
}

TEST(BatchSchedulerSharing, AShiftedContextKeepsItsBeginning) {
  Herd herd(config());
  herd.add(1, range(0, 200));
  herd.run_until(1, 5);
  const auto before = herd.engine.rows_computed();
  herd.replace(1, joined(range(0, 80), range(120, 60)));
  herd.run_until(1, 6);
  EXPECT_EQ(herd.engine.rows_computed() - before, 60);
  herd.run_until(1, 10);
}

TEST(BatchSchedulerBudget, FullBatchesWhileNobodyGenerates) {
  Herd herd(config());
  for (int n = 1; n <= 4; ++n) herd.add(n, range(1000 * n, 40));
  herd.step();
  EXPECT_EQ(herd.last.rows.size(), 64U);
}

TEST(BatchSchedulerBudget, StreamsHaveTheirTokenInEachStep) {
  SchedulerConfig limited = config(4);
  limited.engine.step_tokens_max = 512;
  Herd herd(limited);
  for (int n = 1; n <= 3; ++n) herd.add(n, range(5000 * n, 10));
  while (herd.outputs[3] < 3) ASSERT_TRUE(herd.step(milliseconds(9)));
  herd.add(4, range(50000, 1200));
  const auto before = herd.outputs;
  int steps = 0;
  std::size_t most = 0;
  int tries = 0;
  while (herd.outputs[4] == 0) {
    ASSERT_TRUE(herd.step(milliseconds(9)));
    most = std::max(most, herd.last.rows.size());
    if (herd.last.rows.size() > 32) ++tries;
    ++steps;
    for (int n = 1; n <= 3; ++n) ASSERT_EQ(herd.outputs[n], before.at(n) + steps);
  }
  EXPECT_LE(most, 64U);  // a tile, to see what that takes
  EXPECT_LE(tries, 6);   // the other steps have 32 rows, which take 8 times what four streams take
  EXPECT_LE(herd.last.rows.size(), 32U);
  EXPECT_LE(steps, 1200 / 8 + 20);
}

TEST(BatchSchedulerBudget, ThoseThatComeTogetherBeginTogether) {
  SchedulerConfig limited = config(8);
  limited.engine.step_tokens_max = 512;
  Herd herd(limited);
  herd.add(0, range(900, 60));
  ASSERT_TRUE(herd.step(milliseconds(9)));
  EXPECT_EQ(herd.outputs[0], 1);
  for (int n = 1; n <= 2; ++n) herd.add(n, range(1000 * n, 58));
  ASSERT_TRUE(herd.step(milliseconds(9)));
  EXPECT_EQ(herd.last.rows.size(), 1U + 2 * 58U);  // the first one's second token, and both prompts
  EXPECT_EQ(herd.outputs[0], 2);
  EXPECT_EQ(herd.outputs[2], 1);
  herd.add(3, range(3000, 60));
  ASSERT_TRUE(herd.step(milliseconds(9)));
  EXPECT_EQ(herd.outputs[0], 3);
  EXPECT_LE(herd.last.rows.size(), 3U + 32U);  // from here on the first one's pace counts
  EXPECT_EQ(herd.outputs[3], 0);
}

TEST(BatchSchedulerBudget, AShortPromptIsNotStuckBehindALongOne) {
  Herd herd(config(4));
  herd.add(1, range(10000, 2000));
  herd.step();
  herd.add(2, range(20000, 30));
  herd.step();
  EXPECT_EQ(herd.outputs[2], 1);
  EXPECT_EQ(herd.outputs[1], 0);
}

TEST(BatchSchedulerBudget, ALongPromptIsNotStarvedByShortOnes) {
  Herd herd(config(4));
  herd.add(1, range(10000, 640));
  int next = 2;
  int steps = 0;
  std::vector<int> live;
  while (herd.outputs[1] == 0 && steps < 1000) {
    while (live.size() < 3) {
      herd.add(next, range(20000 + 100 * next, 60));
      live.push_back(next++);
    }
    herd.step();
    ++steps;
    std::erase_if(live, [&](int n) {
      if (herd.outputs[n] == 0) return false;
      herd.remove(n);
      return true;
    });
  }
  EXPECT_EQ(herd.outputs[1], 1);
  EXPECT_LE(steps, 640 / 16 + 5);  // a quarter of each step
}

TEST(BatchSchedulerWhole, NothingIsSharedButAConversationGoesOn) {
  SchedulerConfig whole = config(3, 600);
  whole.engine.memory = MemoryKind::kWhole;
  whole.engine.seqs = 4;
  Herd herd(whole);
  herd.add(1, joined(range(0, 60), range(1000, 10)));
  herd.add(2, joined(range(0, 60), range(2000, 10)));
  herd.step();
  EXPECT_EQ(herd.scheduler.view().running, 2);  // no use in waiting for a prefix
  herd.run_until(1, 5);
  herd.run_until(2, 5);
  EXPECT_EQ(herd.scheduler.stats(id(2)).cached_tokens, 0);
  const int computed = static_cast<int>(herd.tokens[1].size()) - 1;
  std::vector<Token> next = joined(herd.tokens[1], range(3000, 5));
  herd.remove(1);
  herd.add(3, next);
  herd.run_until(3, 5);
  EXPECT_EQ(herd.scheduler.stats(id(3)).cached_tokens, computed);
  herd.replace(3, joined(range(0, 30), range(7000, 20)));
  herd.run_until(3, 10);
}

TEST(BatchSchedulerWhole, PreemptedSequencesAreComputedAnew) {
  SchedulerConfig whole = config(3, 256);
  whole.engine.memory = MemoryKind::kWhole;
  whole.engine.seqs = 3;
  Herd herd(whole);
  for (int n = 1; n <= 3; ++n) herd.add(n, range(1000 * n, 60));
  herd.finish(1, 100);
  herd.finish(2, 100);
  herd.finish(3, 100);
}

// ---- whether a cancel aborts the step

TEST(BatchSchedulerAbort, APromptThatDelaysOthersIsWorthIt) {
  Herd herd(config());
  herd.add(1, range(0, 10));
  herd.run_until(1, 2);
  herd.add(2, range(1000, 100));
  for (int i = 0; i < 10 && herd.last.prompts_of.empty(); ++i) herd.step();
  EXPECT_EQ(herd.last.prompts_of, std::vector{id(2)});
  EXPECT_EQ(herd.last.abort_for, std::vector{id(2)});  // for the stream nothing is computed that could be saved
}

TEST(BatchSchedulerAbort, APromptThatDelaysNobodyIsFinished) {
  Herd herd(config());
  herd.add(1, range(0, 100));
  herd.step();
  EXPECT_EQ(herd.last.prompts_of, std::vector{id(1)});
  EXPECT_TRUE(herd.last.abort_for.empty());
}

TEST(BatchSchedulerAbort, WithOneSlotOthersMayWaitAtTheFront) {
  Herd herd(config(1));
  herd.add(1, range(0, 100));
  herd.step();
  EXPECT_EQ(herd.last.abort_for, std::vector{id(1)});
}

TEST(BatchSchedulerAbort, AMemoryThatCannotBeRestoredIsLeftAlone) {
  SchedulerConfig whole = config(2);
  whole.engine.memory = MemoryKind::kWhole;
  Herd herd(whole);
  for (int n = 1; n <= 2; ++n) herd.add(n, range(1000 * n, 30));
  herd.step();
  EXPECT_EQ(herd.last.prompts_of.size(), 2U);
  EXPECT_TRUE(herd.last.abort_for.empty());
}

TEST(BatchScheduler, ASequenceHasOneState) {
  Herd herd(config(4, 300));
  for (int n = 1; n <= 2; ++n) herd.add(n, joined(range(0, 100), range(1000 * n, 20)));
  EXPECT_EQ(herd.scheduler.stats(id(1)).state, SequenceState::kWaiting);
  herd.step();
  EXPECT_EQ(herd.scheduler.stats(id(1)).state, SequenceState::kRunning);
  EXPECT_EQ(herd.scheduler.stats(id(2)).state, SequenceState::kFollowing);
  herd.run_until(2, 1);
  EXPECT_EQ(herd.scheduler.stats(id(2)).state, SequenceState::kRunning);
  while (herd.scheduler.view().preempted == 0) ASSERT_TRUE(herd.step());
  EXPECT_EQ(herd.scheduler.stats(id(2)).state, SequenceState::kPreempted);
  herd.end_next = 1;
  ASSERT_TRUE(herd.step());
  EXPECT_EQ(herd.scheduler.stats(id(1)).state, SequenceState::kEnded);
}

}  // namespace
}  // namespace drover
