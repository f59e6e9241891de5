#include "runner/cell_pool.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using Operations = std::vector<MemoryOperation>;
using Keep = CellPool::Keep;

constexpr auto kCopy = MemoryOperation::Kind::kCopy;
constexpr auto kRemove = MemoryOperation::Kind::kRemove;
constexpr auto kSave = MemoryOperation::Kind::kSave;
constexpr auto kRestore = MemoryOperation::Kind::kRestore;
constexpr auto kForget = MemoryOperation::Kind::kForget;

std::vector<Token> range(Token first, int count) {
  std::vector<Token> tokens(count);
  for (int i = 0; i < count; ++i) tokens[i] = first + i;
  return tokens;
}

std::vector<Token> joined(std::vector<Token> a, const std::vector<Token>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

EngineLimits limits(int cells, int seqs, MemoryKind memory = MemoryKind::kShared) {
  return {.memory = memory, .cells = cells, .seqs = seqs, .step_tokens_max = 64};
}

// Runs a sequence to its end: what the cache has of it is taken, the rest computed.
SeqId run(CellPool& pool, const std::vector<Token>& tokens, Operations& operations) {
  const auto [seq, length] = pool.take(pool.find(tokens), tokens, operations);
  pool.make_room(static_cast<int>(tokens.size()) - length, operations);
  pool.settle();
  pool.extend(seq, std::span(tokens).subspan(length));
  return seq;
}

EngineLimits saving_limits(int cells, int saved_cells) {
  EngineLimits result = limits(cells, 8);
  result.saved_cells = saved_cells;
  return result;
}

std::vector<MemoryOperation::Kind> kinds(const Operations& operations) {
  std::vector<MemoryOperation::Kind> result;
  for (const MemoryOperation& operation : operations) result.push_back(operation.kind);
  return result;
}

TEST(CellPool, TheLastTokenIsNeverTakenFromTheCache) {
  CellPool pool(limits(100, 4));
  Operations operations;
  const SeqId seq = run(pool, range(0, 10), operations);
  EXPECT_EQ(pool.find(range(0, 10)).length, 9);
  pool.release(seq, Keep::kNormally, 1);
  EXPECT_EQ(pool.find(range(0, 10)).length, 9);
  EXPECT_EQ(pool.find(range(0, 11)).length, 10);
  EXPECT_EQ(pool.find(range(0, 1)).length, 0);
}

TEST(CellPool, SharesWithACopyAndContinuesWithNone) {
  CellPool pool(limits(100, 4));
  Operations operations;
  const SeqId first = run(pool, range(0, 10), operations);
  EXPECT_TRUE(operations.empty());
  const SeqId second = run(pool, joined(range(0, 6), range(50, 2)), operations);
  ASSERT_EQ(operations.size(), 1U);
  EXPECT_EQ(operations[0], (MemoryOperation{kCopy, first, second, 0, 6}));
  EXPECT_EQ(pool.used(), 12);
  EXPECT_EQ(pool.shared(), 6);

  operations.clear();
  pool.release(first, Keep::kNormally, 1);
  EXPECT_EQ(run(pool, range(0, 20), operations), first);
  EXPECT_TRUE(operations.empty());
}

TEST(CellPool, LeastRecentlyUsedGoesFirst) {
  CellPool pool(limits(300, 8));
  Operations operations;
  const SeqId a = run(pool, range(1000, 100), operations);
  const SeqId b = run(pool, range(2000, 100), operations);
  const SeqId c = run(pool, range(3000, 100), operations);
  pool.release(b, Keep::kNormally, 2);
  pool.release(a, Keep::kNormally, 1);
  pool.release(c, Keep::kNormally, 3);
  pool.make_room(100, operations);
  ASSERT_EQ(operations.size(), 1U);
  EXPECT_EQ(operations[0], (MemoryOperation{kRemove, b, 0, 0, -1}));
  operations.clear();
  pool.make_room(170, operations);
  ASSERT_EQ(operations.size(), 1U);
  EXPECT_EQ(operations[0], (MemoryOperation{kRemove, a, 0, 30, -1}));  // only the tail, as much as is needed
  EXPECT_EQ(pool.free(), 170);
}

TEST(CellPool, TailsGoBeforeWhatSeveralShare) {
  CellPool pool(limits(400, 8));
  Operations operations;
  const std::vector<Token> system = range(0, 100);
  std::vector<SeqId> seqs;
  for (int i = 0; i < 3; ++i) seqs.push_back(run(pool, joined(system, range(1000 * (i + 1), 100)), operations));
  EXPECT_EQ(pool.free(), 0);
  for (const SeqId seq : seqs) pool.release(seq, Keep::kNormally, 1);
  pool.make_room(300, operations);
  EXPECT_EQ(pool.find(joined(system, range(9000, 5))).length, 100);
  EXPECT_EQ(pool.kept(), 100);
}

TEST(CellPool, RunningCellsAreNeverDropped) {
  CellPool pool(limits(200, 4));
  Operations operations;
  const SeqId a = run(pool, range(0, 100), operations);
  run(pool, joined(range(0, 90), range(500, 10)), operations);
  pool.release(a, Keep::kNormally, 1);
  EXPECT_EQ(pool.kept(), 10);
  pool.make_room(100, operations);
  EXPECT_EQ(pool.used(), 100);
  EXPECT_EQ(pool.kept(), 0);
}

TEST(CellPool, KeptForItsOwnerGoesLastAndKeptBrieflyFirst) {
  CellPool pool(limits(300, 8));
  Operations operations;
  const SeqId preempted = run(pool, range(1000, 100), operations);
  const SeqId ended = run(pool, range(2000, 100), operations);
  const SeqId shifted = run(pool, range(3000, 100), operations);
  pool.release(preempted, Keep::kForOwner, 7);
  pool.release(ended, Keep::kNormally, 8);
  pool.release(shifted, Keep::kBriefly, 9);
  pool.make_room(100, operations);
  EXPECT_EQ(operations.back().from, shifted);
  pool.make_room(200, operations);
  EXPECT_EQ(operations.back().from, ended);
  pool.make_room(300, operations);
  EXPECT_EQ(operations.back().from, preempted);
}

TEST(CellPool, WhatAnOwnerGaveUpIsKeptNormally) {
  CellPool pool(limits(200, 8));
  Operations operations;
  const SeqId preempted = run(pool, range(1000, 100), operations);
  const SeqId ended = run(pool, range(2000, 100), operations);
  pool.release(preempted, Keep::kForOwner, 7);
  pool.release(ended, Keep::kNormally, 8);
  pool.disown(7);
  pool.make_room(100, operations);
  EXPECT_EQ(operations.back().from, preempted);
}

TEST(CellPool, WhatHoldsNothingIsNotKept) {
  CellPool pool(limits(100, 2));
  Operations operations;
  const SeqId kept = run(pool, range(1000, 50), operations);
  pool.release(kept, Keep::kNormally, 1);
  const SeqId seq = pool.take({}, {}, operations).seq;
  pool.release(seq, Keep::kNormally, 2);
  EXPECT_EQ(run(pool, range(2000, 50), operations), seq);
  EXPECT_TRUE(operations.empty());
}

TEST(CellPool, WithoutAFreeSequenceTheLeastRecentlyUsedOneIsReused) {
  CellPool pool(limits(300, 2));
  Operations operations;
  const SeqId a = run(pool, range(1000, 50), operations);
  const SeqId b = run(pool, range(2000, 50), operations);
  pool.release(a, Keep::kNormally, 1);
  pool.release(b, Keep::kNormally, 2);
  EXPECT_EQ(run(pool, range(3000, 50), operations), a);
  ASSERT_EQ(operations.size(), 1U);
  EXPECT_EQ(operations[0], (MemoryOperation{kRemove, a, 0, 0, -1}));

  // The only sequence to be had is the one that holds the prefix: its tail goes, the prefix stays.
  operations.clear();
  EXPECT_EQ(run(pool, joined(range(2000, 30), range(7000, 5)), operations), b);
  ASSERT_EQ(operations.size(), 1U);
  EXPECT_EQ(operations[0], (MemoryOperation{kRemove, b, 0, 30, -1}));
  EXPECT_EQ(pool.used(), 85);
}

TEST(CellPool, WholeMemoryIsNotSharedAndGoesAsAWhole) {
  CellPool pool(limits(300, 4, MemoryKind::kWhole));
  Operations operations;
  const SeqId a = run(pool, range(0, 100), operations);
  const SeqId b = run(pool, joined(range(0, 90), range(500, 10)), operations);
  EXPECT_TRUE(operations.empty());
  EXPECT_EQ(pool.used(), 200);
  pool.release(a, Keep::kNormally, 1);
  EXPECT_EQ(pool.find(range(0, 100)).length, 0);    // the last token would have to be taken out again
  EXPECT_EQ(pool.find(range(0, 101)).length, 100);  // it goes on exactly where the kept one ends
  pool.release(b, Keep::kNormally, 2);
  pool.make_room(101, operations);
  ASSERT_EQ(operations.size(), 1U);
  EXPECT_EQ(operations[0], (MemoryOperation{kRemove, a, 0, 0, -1}));
}

TEST(CellPool, WhatHasToGoIsSavedAndRestored) {
  CellPool pool(saving_limits(300, 300));
  Operations operations;
  const SeqId a = run(pool, range(1000, 200), operations);
  pool.release(a, Keep::kNormally, 1);
  run(pool, range(2000, 250), operations);
  EXPECT_EQ(kinds(operations), (std::vector{kSave, kRemove}));
  EXPECT_EQ(operations[0], (MemoryOperation{kSave, a, 0, 0, 200, operations[0].piece}));
  EXPECT_EQ(pool.saved(), 200);
  EXPECT_EQ(pool.find(range(1000, 201)).in_cells.length, 50);
  EXPECT_EQ(pool.find(range(1000, 201)).length, 200);

  // There is no room for it now: what the cells still have is taken, and the rest has to be computed.
  const auto [seq, length] = pool.take(pool.find(range(1000, 201)), range(1000, 201), operations);
  EXPECT_EQ(length, 50);
}

TEST(CellPool, OnlyWhatTheCellsLackIsRestored) {
  CellPool pool(saving_limits(400, 800));
  Operations operations;
  const SeqId a = run(pool, range(1000, 200), operations);
  pool.release(a, Keep::kNormally, 1);
  const SeqId b = run(pool, range(2000, 250), operations);
  pool.release(b, Keep::kNormally, 2);
  operations.clear();
  const std::vector<Token> again = joined(range(1000, 180), range(7000, 20));
  const auto [seq, length] = pool.take(pool.find(again), again, operations);
  EXPECT_EQ(length, 180);
  const MemoryOperation& last = operations.back();
  EXPECT_EQ(last, (MemoryOperation{kRestore, 0, seq, 136, 180, last.piece}));
  EXPECT_EQ(pool.used(), 180);
}

TEST(CellPool, IsMovedOutAfterSoManyRows) {
  CellPool pool(saving_limits(800, 800));
  Operations operations;
  const SeqId a = run(pool, range(1000, 70), operations);
  const SeqId b = run(pool, range(2000, 80), operations);
  pool.release(a, Keep::kNormally, 1);
  operations.clear();
  pool.save_kept(60, operations);
  EXPECT_TRUE(operations.empty());
  pool.release(b, Keep::kNormally, 2);
  pool.save_kept(4, operations);
  EXPECT_EQ(kinds(operations), (std::vector{kSave, kRemove}));
  EXPECT_EQ(operations[0].from, a);
  EXPECT_EQ(pool.kept(), 80);
  EXPECT_EQ(pool.saved(), 70);

  operations.clear();
  const SeqId again = run(pool, range(1000, 71), operations);
  EXPECT_EQ(kinds(operations), std::vector{kRestore});
  pool.release(again, Keep::kNormally, 3);
  operations.clear();
  pool.save_kept(59, operations);
  EXPECT_TRUE(operations.empty());
  pool.save_kept(1, operations);
  EXPECT_EQ(kinds(operations), (std::vector{kSave, kRemove}));
  EXPECT_EQ(operations[0].from, b);

  // Saved already: it has only to be removed.
  operations.clear();
  pool.save_kept(4, operations);
  EXPECT_EQ(kinds(operations), std::vector{kRemove});
  EXPECT_EQ(pool.kept(), 0);
  EXPECT_EQ(pool.saved(), 150);
}

TEST(CellPool, AFewCellsMayStay) {
  CellPool pool(saving_limits(2000, 2000));
  Operations operations;
  int released = 0;
  const auto keep = [&](int count, int tokens) {
    for (int i = 0; i < count; ++i) {
      const SeqId seq = run(pool, range(1000 * ++released, tokens), operations);
      pool.release(seq, Keep::kNormally, released);
    }
  };
  keep(7, 60);
  operations.clear();
  pool.save_kept(1000, operations);
  EXPECT_TRUE(operations.empty());
  keep(1, 100);
  pool.save_kept(1000, operations);
  EXPECT_EQ(kinds(operations), (std::vector{kSave, kRemove}));
  EXPECT_EQ(pool.kept(), 460);
}

TEST(CellPool, TheOldestThatIsSavedGoes) {
  CellPool pool(saving_limits(200, 100));
  Operations operations;
  const SeqId a = run(pool, range(1000, 80), operations);
  pool.release(a, Keep::kNormally, 1);
  const SeqId b = run(pool, range(2000, 90), operations);
  pool.release(b, Keep::kNormally, 2);
  pool.make_room(200, operations);
  EXPECT_EQ(kinds(operations), (std::vector{kSave, kRemove, kForget, kSave, kRemove}));
  EXPECT_EQ(pool.find(range(1000, 81)).length, 0);
  EXPECT_EQ(pool.find(range(2000, 91)).length, 90);
}

TEST(CellPool, WhatNobodyWillAskForIsNotSaved) {
  CellPool pool(saving_limits(200, 200));
  Operations operations;
  pool.release(run(pool, range(1000, 80), operations), Keep::kBriefly, 1);
  pool.make_room(200, operations);
  EXPECT_EQ(kinds(operations), std::vector{kRemove});
}

TEST(CellPool, WhatCouldNotBeRestoredIsForgotten) {
  CellPool pool(saving_limits(200, 200));
  Operations operations;
  pool.release(run(pool, range(1000, 80), operations), Keep::kNormally, 1);
  pool.make_room(200, operations);
  operations.clear();
  const auto [seq, length] = pool.take(pool.find(range(1000, 90)), range(1000, 90), operations);
  EXPECT_EQ(length, 80);
  operations.clear();
  EXPECT_TRUE(pool.was_taken(seq));
  pool.undo_taken(operations);
  EXPECT_EQ(kinds(operations), (std::vector{kRemove, kForget}));
  EXPECT_EQ(pool.used() + pool.kept() + pool.saved(), 0);
  EXPECT_EQ(pool.find(range(1000, 90)).length, 0);
  EXPECT_FALSE(pool.was_taken(seq));
}

}  // namespace
}  // namespace drover
