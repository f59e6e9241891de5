#include "runner/batch_scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "engine/fake_engine.h"

namespace drover {
namespace {

using std::chrono::milliseconds;

constexpr int kVocabulary = 1000;
constexpr TimePoint kNow{};

std::vector<Token> range(Token first, int count) {
  std::vector<Token> tokens(count);
  for (int i = 0; i < count; ++i) tokens[i] = first + i;
  return tokens;
}

std::vector<Token> joined(std::vector<Token> a, const std::vector<Token>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

RequestId id(int n) {
  return {static_cast<std::uint64_t>(n)};
}

SchedulerConfig config(int places = 4, int cells = 4096) {
  SchedulerConfig result;
  result.engine = {.memory = MemoryKind::kShared, .cells = cells, .slots = 16, .step_tokens_max = 64};
  result.places = places;
  return result;
}

EngineLimits with_cells(EngineLimits limits, int cells) {
  limits.cells = cells;
  return limits;
}

// A scheduler with a fake engine. Every output is compared with the one that the request would get alone.
class Herd {
 public:
  explicit Herd(SchedulerConfig config) : Herd(config, config.engine.cells) {}
  Herd(SchedulerConfig config, int engine_cells)
      : engine(with_cells(config.engine, engine_cells), kVocabulary), scheduler(config) {}

  void add(int n, std::vector<Token> prompt) {
    tokens[n] = prompt;
    scheduler.add(id(n), std::move(prompt), kNow);
  }
  void remove(int n) {
    scheduler.remove(id(n), kNow);
    tokens.erase(n);
  }
  void replace(int n, std::vector<Token> replacement) {
    tokens[n] = replacement;
    scheduler.replace(id(n), std::move(replacement), kNow);
  }

  // One step; false if there was none. `took`: for each row.
  bool step(Duration took = milliseconds(1)) {
    last = scheduler.plan(kNow);
    if (last.empty()) return false;
    engine.apply(last.operations);
    const DecodeStatus status = engine.decode(last.rows);
    EXPECT_EQ(engine.violation(), "");
    if (status != DecodeStatus::kDone) {
      scheduler.abandon(status, kNow);
      return true;
    }
    std::vector<Sampled> sampled;
    for (std::size_t i = 0; i < last.output_of.size(); ++i) {
      const int n = static_cast<int>(last.output_of[i].value);
      AloneAnswer alone(kVocabulary);
      for (const Token token : tokens[n]) alone.push(token);
      EXPECT_EQ(engine.outputs()[i], alone.next()) << "request " << n;
      const bool end = end_next == n;
      sampled.push_back({last.output_of[i], engine.outputs()[i], end});
      if (!end) tokens[n].push_back(engine.outputs()[i]);
      ++outputs[n];
    }
    scheduler.commit(sampled, took * last.rows.size(), kNow);
    const SchedulerView view = scheduler.view();
    EXPECT_EQ(view.cells_used + view.cells_kept, engine.cells_used());
    return true;
  }
  // Steps until the request has brought forth so many tokens.
  void run_until(int n, int count) {
    for (int i = 0; i < 20000 && outputs[n] < count; ++i) ASSERT_TRUE(step());
    ASSERT_GE(outputs[n], count);
  }
  void finish(int n, int count) {
    run_until(n, count);
    remove(n);
  }

  int rows_of(int n) const {
    int rows = 0;
    const Slot slot = slot_of(n);
    for (const Row& row : last.rows) rows += row.slot == slot;
    return rows;
  }
  // By the tokens in the last step; requests of these tests have tokens of their own.
  Slot slot_of(int n) const {
    const std::vector<Token>& mine = tokens.at(n);
    for (const Row& row : last.rows) {
      if (row.position < static_cast<int>(mine.size()) && mine[row.position] == row.token) return row.slot;
    }
    return -1;
  }

  FakeEngine engine;
  BatchScheduler scheduler;
  std::map<int, std::vector<Token>> tokens;
  std::map<int, int> outputs;
  int end_next = -1;
  Step last;
};

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
  herd.add(2, range(500, 5));  // its place is free
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
  large.engine.step_tokens_max = 1024;
  Herd herd(large);
  for (int n = 0; n < 8; ++n) herd.add(n, joined(range(0, 600), range(1000 * (n + 1), 25)));
  herd.step();
  EXPECT_EQ(herd.last.rows.size(), 600U);
  herd.step();
  EXPECT_EQ(herd.last.rows.size(), 200U);
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

TEST(BatchSchedulerSharing, WhenTheLeaderIsCancelledItsPartIsUsed) {
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

TEST(BatchSchedulerSharing, ACancelledPromptsRetryStartsWhereItStopped) {
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
  EXPECT_TRUE(herd.last.operations.empty());  // it goes on in the slot
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
  while (herd.outputs[4] == 0) {
    ASSERT_TRUE(herd.step(milliseconds(9)));
    most = std::max(most, herd.last.rows.size());
    ++steps;
    for (int n = 1; n <= 3; ++n) ASSERT_EQ(herd.outputs[n], before.at(n) + steps);
  }
  EXPECT_LE(most, 35U);  // the first are a guess; then 108 ms are 12 rows
  EXPECT_LE(herd.last.rows.size(), 16U);
  EXPECT_LE(steps, 1200 / 8 + 20);
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

TEST(BatchSchedulerRoom, KeptPrefixesMakeRoomForRunningSequences) {
  Herd herd(config(4, 300));
  for (int n = 1; n <= 3; ++n) {
    herd.add(n, range(1000 * n, 90));
    herd.finish(n, 1);
  }
  EXPECT_EQ(herd.scheduler.view().cells_kept, 270);
  herd.add(4, range(9000, 250));
  herd.run_until(4, 5);
  EXPECT_EQ(herd.scheduler.stats(id(4)).parked, 0);
}

TEST(BatchSchedulerRoom, WhenTheCellsAreFullTheNewestIsParkedAndNobodyFails) {
  constexpr int kStreams = 4;
  constexpr int kOutputs = 400;
  Herd herd(config(kStreams, 768));
  for (int n = 0; n < kStreams; ++n) herd.add(n, range(1000 * (n + 1), 20));
  bool parked = false;
  std::vector<int> finished;
  for (int steps = 0; finished.size() < kStreams && steps < 5000; ++steps) {
    ASSERT_TRUE(herd.step());
    parked |= herd.scheduler.view().parked > 0;
    for (int n = 0; n < kStreams; ++n) {
      if (herd.outputs[n] < kOutputs || herd.tokens.count(n) == 0) continue;
      finished.push_back(n);
      EXPECT_LE(herd.scheduler.stats(id(n)).parked, 2) << "request " << n;
      if (n == 0) {
        EXPECT_EQ(herd.scheduler.stats(id(n)).parked, 0);
      }
      herd.remove(n);
    }
  }
  EXPECT_TRUE(parked);
  EXPECT_EQ(finished, (std::vector{0, 1, 2, 3}));
  EXPECT_LE(herd.engine.rows_computed(), kStreams * (kOutputs + 20) + 600);  // little was computed twice
}

TEST(BatchSchedulerRoom, AParkedSequenceGoesOnWithWhatIsLeftOfIt) {
  Herd herd(config(2, 200));
  herd.add(1, range(1000, 80));
  herd.add(2, range(2000, 80));
  while (herd.scheduler.view().parked == 0) ASSERT_TRUE(herd.step());
  const int tokens_of_2 = static_cast<int>(herd.tokens[2].size());
  herd.remove(1);
  const auto before = herd.engine.rows_computed();
  herd.run_until(2, herd.outputs[2] + 1);
  EXPECT_EQ(herd.scheduler.stats(id(2)).parked, 1);
  EXPECT_LE(herd.engine.rows_computed() - before, 64 + 1);
  EXPECT_GT(tokens_of_2, 95);
}

TEST(BatchSchedulerRoom, WhatIsKeptForAParkedSequenceGoesLast) {
  Herd herd(config(3, 300));
  herd.add(1, range(1000, 100));
  herd.add(2, range(2000, 30));
  herd.add(3, range(3000, 100));
  while (herd.scheduler.view().parked == 0) ASSERT_TRUE(herd.step());
  herd.remove(2);  // kept from now on, used more recently than what is left of the parked one
  for (int i = 0; i < 30; ++i) herd.step();
  EXPECT_EQ(herd.scheduler.view().parked, 1);
  const int cached = herd.scheduler.stats(id(3)).cached_tokens;
  herd.remove(1);
  const auto before = herd.engine.rows_computed();
  herd.run_until(3, herd.outputs[3] + 1);
  EXPECT_LE(herd.engine.rows_computed() - before, 64 + 1);
  EXPECT_EQ(herd.scheduler.stats(id(3)).cached_tokens, cached);  // of the first time
}

TEST(BatchSchedulerRoom, WhatWasKeptForACancelledOneIsNothingSpecial) {
  Herd herd(config(2, 300));
  herd.add(1, range(1000, 120));
  herd.add(2, range(2000, 120));
  while (herd.scheduler.view().parked == 0) ASSERT_TRUE(herd.step());
  herd.remove(2);
  herd.step();
  const std::vector<Token> first = herd.tokens[1];
  herd.remove(1);
  herd.add(3, range(5000, 50));
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

// Without some slack a parked sequence would come back only to be parked again.
TEST(BatchSchedulerRoom, WhoeverComesInHasRoomToGrow) {
  Herd herd(config(2, 256));
  herd.add(1, range(1000, 100));
  herd.run_until(1, 1);
  herd.add(2, range(2000, 150));
  for (int i = 0; i < 30; ++i) herd.step();
  EXPECT_EQ(herd.scheduler.view().running, 1);
  herd.remove(1);
  herd.run_until(2, 30);
  EXPECT_EQ(herd.scheduler.stats(id(2)).parked, 0);
}

TEST(BatchSchedulerRoom, AnOlderPromptTakesTheRoomOfANewerOne) {
  Herd herd(config(2, 300));
  herd.add(1, range(1000, 20));
  herd.run_until(1, 1);
  herd.add(2, range(2000, 200));
  herd.step();
  herd.replace(1, range(5000, 280));
  herd.run_until(1, herd.outputs[1] + 2);
  EXPECT_EQ(herd.scheduler.stats(id(1)).parked, 0);
  EXPECT_EQ(herd.scheduler.stats(id(2)).parked, 1);
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
  EXPECT_EQ(herd.scheduler.stats(id(1)).parked, 0);
}

TEST(BatchSchedulerRoom, APromptThatDoesNotFitYetHoldsUpThoseBehindIt) {
  Herd herd(config(4, 400));
  herd.add(1, range(1000, 200));
  herd.run_until(1, 1);
  herd.add(2, range(2000, 300));
  herd.add(3, range(3000, 20));
  for (int i = 0; i < 20; ++i) herd.step();
  EXPECT_EQ(herd.scheduler.view().running, 1);
  EXPECT_EQ(herd.scheduler.stats(id(1)).parked, 0);
  herd.remove(1);
  herd.run_until(2, 1);
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

TEST(BatchSchedulerRoom, PlacesCanBeAllSlots) {
  SchedulerConfig few = config(3, 500);
  few.engine.slots = 3;
  Herd herd(few);
  for (int n = 0; n < 30; ++n) {
    herd.add(n, joined(range(0, 10 + n), range(1000 * (n + 1), 20)));
    if (n >= 2) herd.finish(n - 2, 3);
  }
}

TEST(BatchSchedulerWhole, NothingIsSharedButAConversationGoesOn) {
  SchedulerConfig whole = config(3, 600);
  whole.engine.memory = MemoryKind::kWhole;
  whole.engine.slots = 4;
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

TEST(BatchSchedulerWhole, ParkedSequencesAreComputedAnew) {
  SchedulerConfig whole = config(3, 256);
  whole.engine.memory = MemoryKind::kWhole;
  whole.engine.slots = 3;
  Herd herd(whole);
  for (int n = 1; n <= 3; ++n) herd.add(n, range(1000 * n, 60));
  herd.finish(1, 100);
  herd.finish(2, 100);
  herd.finish(3, 100);
}

}  // namespace
}  // namespace drover
