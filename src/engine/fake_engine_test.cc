#include "engine/fake_engine.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

constexpr int kVocabulary = 1000;
constexpr auto kCopy = MemoryOperation::Kind::kCopy;
constexpr auto kRemove = MemoryOperation::Kind::kRemove;

FakeEngine engine(MemoryKind memory = MemoryKind::kShared) {
  return FakeEngine({.memory = memory, .cells = 20, .seqs = 4, .step_tokens_max = 8}, kVocabulary);
}

std::vector<Row> rows(SeqId seq, Position begin, std::vector<Token> tokens) {
  std::vector<Row> result;
  for (const Token token : tokens) result.push_back({token, begin++, seq, false});
  result.back().output = true;
  return result;
}

Token alone(std::vector<Token> tokens) {
  AloneAnswer answer(kVocabulary);
  for (const Token token : tokens) answer.push(token);
  return answer.next();
}

TEST(FakeEngine, AnswersByWhatTheRowSees) {
  FakeEngine fake = engine();
  ASSERT_EQ(fake.decode(rows(0, 0, {1, 2, 3})), DecodeStatus::kDone);
  EXPECT_EQ(fake.outputs()[0], alone({1, 2, 3}));
  fake.apply(std::vector<MemoryOperation>{{kCopy, 0, 1, 0, 2}});
  ASSERT_EQ(fake.decode(rows(1, 2, {9})), DecodeStatus::kDone);
  EXPECT_EQ(fake.outputs()[0], alone({1, 2, 9}));
  EXPECT_NE(alone({1, 2, 9}), alone({2, 1, 9}));
  EXPECT_EQ(fake.cells_used(), 4);
  EXPECT_EQ(fake.violation(), "");
}

TEST(FakeEngine, CellsAreFreeWhenTheLastHolderLetsGo) {
  FakeEngine fake = engine();
  ASSERT_EQ(fake.decode(rows(0, 0, {1, 2, 3})), DecodeStatus::kDone);
  fake.apply(std::vector<MemoryOperation>{{kCopy, 0, 1, 0, 2}, {kRemove, 0, 0, 0, -1}});
  EXPECT_EQ(fake.cells_used(), 2);
  fake.apply(std::vector<MemoryOperation>{{kRemove, 1, 0, 1, -1}});
  EXPECT_EQ(fake.cells_used(), 1);
}

TEST(FakeEngine, NoRoomAndInjectedFailuresChangeNothing) {
  FakeEngine fake = engine();
  for (SeqId seq = 0; seq < 2; ++seq) {
    ASSERT_EQ(fake.decode(rows(seq, 0, {1, 2, 3, 4, 5, 6, 7, 8})), DecodeStatus::kDone);
  }
  EXPECT_EQ(fake.decode(rows(2, 0, {1, 2, 3, 4, 5})), DecodeStatus::kNoRoom);
  fake.fail_next(DecodeStatus::kAborted);
  EXPECT_EQ(fake.decode(rows(2, 0, {1, 2})), DecodeStatus::kAborted);
  EXPECT_EQ(fake.cells_used(), 16);
  EXPECT_EQ(fake.decode(rows(2, 0, {1, 2})), DecodeStatus::kDone);
  EXPECT_EQ(fake.violation(), "");
}

// Each of these breaks one rule of the engine.
TEST(FakeEngine, NoticesBrokenRules) {
  const std::vector<std::vector<MemoryOperation>> operations = {
      {{kCopy, 0, 1, 0, 5}},                       // more than there is
      {{kCopy, 0, 1, 1, 3}},                       // leaves a gap
      {{kCopy, 0, 1, 0, 2}, {kCopy, 0, 1, 0, 2}},  // two cells at a position
      {{kCopy, 0, 0, 0, 2}},                       // onto itself
      {{kCopy, 0, 4, 0, 2}},                       // no such sequence
      {{kRemove, 0, 0, 0, 1}},                     // leaves a gap
      {{kRemove, 0, 0, 4, -1}},                    // more than there is
  };
  for (const auto& each : operations) {
    FakeEngine fake = engine();
    ASSERT_EQ(fake.decode(rows(0, 0, {1, 2, 3})), DecodeStatus::kDone);
    fake.apply(each);
    EXPECT_NE(fake.violation(), "") << "case " << &each - operations.data();
    EXPECT_EQ(fake.decode(rows(3, 0, {1})), DecodeStatus::kFailed);
  }
  const std::vector<std::vector<Row>> steps = {
      rows(0, 4, {1}), rows(0, 2, {1}), rows(1, 1, {1}), rows(4, 0, {1}), {}, rows(1, 0, {1, 2, 3, 4, 5, 6, 7, 8, 9})};
  for (const auto& each : steps) {
    FakeEngine fake = engine();
    ASSERT_EQ(fake.decode(rows(0, 0, {1, 2, 3})), DecodeStatus::kDone);
    EXPECT_EQ(fake.decode(each), DecodeStatus::kFailed);
    EXPECT_NE(fake.violation(), "") << "case " << &each - steps.data();
  }
}

TEST(FakeEngine, WholeMemoryKnowsNeitherCopiesNorParts) {
  for (const MemoryOperation& operation : {MemoryOperation{kCopy, 0, 1, 0, 2}, MemoryOperation{kRemove, 0, 0, 1, -1}}) {
    FakeEngine fake = engine(MemoryKind::kWhole);
    ASSERT_EQ(fake.decode(rows(0, 0, {1, 2, 3})), DecodeStatus::kDone);
    fake.apply(std::vector<MemoryOperation>{operation});
    EXPECT_NE(fake.violation(), "");
  }
  FakeEngine fake = engine(MemoryKind::kWhole);
  ASSERT_EQ(fake.decode(rows(0, 0, {1, 2, 3})), DecodeStatus::kDone);
  fake.apply(std::vector<MemoryOperation>{{kRemove, 0, 0, 0, -1}});
  EXPECT_EQ(fake.violation(), "");
  EXPECT_EQ(fake.cells_used(), 0);
}

}  // namespace
}  // namespace drover
