// Shared by the tests of the batch scheduler.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "engine/fake_engine.h"
#include "runner/batch_scheduler.h"

namespace drover {
using std::chrono::milliseconds;

inline constexpr int kVocabulary = 1000;

inline std::vector<Token> range(Token first, int count) {
  std::vector<Token> tokens(count);
  for (int i = 0; i < count; ++i) tokens[i] = first + i;
  return tokens;
}

inline std::vector<Token> joined(std::vector<Token> a, const std::vector<Token>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline RequestId id(int n) {
  return {static_cast<std::uint64_t>(n)};
}

inline SchedulerConfig config(int slots = 4, int cells = 4096) {
  SchedulerConfig result;
  result.engine = {.memory = MemoryKind::kShared, .cells = cells, .seqs = 16, .step_tokens_max = 64};
  result.slots = result.slots_max = slots;
  return result;
}

inline EngineLimits with_cells(EngineLimits limits, int cells) {
  limits.cells = cells;
  return limits;
}

// A scheduler with a fake engine. Every output is compared with the one that the request would get alone.
class SchedulerFixture {
 public:
  explicit SchedulerFixture(SchedulerConfig config) : SchedulerFixture(config, config.engine.cells) {}
  SchedulerFixture(SchedulerConfig config, int engine_cells)
      : engine(with_cells(config.engine, engine_cells), kVocabulary), scheduler(config) {}

  void add(int n, std::vector<Token> prompt) {
    tokens[n] = prompt;
    scheduler.add(id(n), std::move(prompt));
  }
  void remove(int n) {
    scheduler.remove(id(n));
    tokens.erase(n);
  }
  void replace(int n, std::vector<Token> replacement) {
    tokens[n] = replacement;
    scheduler.replace(id(n), std::move(replacement));
  }

  // Runs one step of `took` for each row. False: there was none.
  bool step(Duration took = milliseconds(1)) {
    last = scheduler.plan();
    if (last.empty()) return false;
    const bool applied = engine.apply(last.operations);
    const DecodeStatus status = applied ? engine.decode(last.rows) : DecodeStatus::kLost;
    EXPECT_EQ(engine.violation(), "");
    if (status != DecodeStatus::kDone) {
      scheduler.abandon(status);
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
    scheduler.commit(sampled, took * last.rows.size());
    const SchedulerView view = scheduler.view();
    EXPECT_EQ(view.cells_used + view.cells_kept, engine.cells_used());
    EXPECT_EQ(view.cells_saved, engine.cells_saved());
    return true;
  }
  // Runs steps until the request has generated `count` tokens.
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
    const SeqId seq = seq_of(n);
    for (const Row& row : last.rows) rows += row.seq == seq;
    return rows;
  }
  // Found by the tokens of the last step: requests of these tests have different tokens.
  SeqId seq_of(int n) const {
    const std::vector<Token>& mine = tokens.at(n);
    for (const Row& row : last.rows) {
      if (row.position < static_cast<int>(mine.size()) && mine[row.position] == row.token) return row.seq;
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

}  // namespace drover
