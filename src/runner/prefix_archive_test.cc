#include "runner/prefix_archive.h"

#include <gtest/gtest.h>

#include <random>

namespace drover {
namespace {

using Tokens = std::vector<Token>;

Tokens range(Token first, int count) {
  Tokens tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(first + i);
  return tokens;
}

Tokens joined(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(PrefixArchive, FindsWhatIsSavedPieceByPiece) {
  PrefixArchive archive(100);
  std::vector<Piece> gone;
  const Tokens all = range(0, 50);
  const auto first = archive.add(std::span(all).first(20), gone);
  const auto second = archive.add(all, gone);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(second->begin, 20);
  EXPECT_EQ(second->whole, 30);
  EXPECT_EQ(archive.cells(), 50);
  EXPECT_EQ(archive.length(all), 50);
  EXPECT_EQ(archive.length(std::span(all).first(35)), 35);
  EXPECT_EQ(archive.length(range(1, 10)), 0);
  const auto parts = archive.use(std::span(all).first(35));
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[1].begin, 20);
  EXPECT_EQ(parts[1].end, 35);
  EXPECT_EQ(parts[1].whole, 30);
}

TEST(PrefixArchive, APieceMayContinueAnotherFromItsMiddle) {
  PrefixArchive archive(100);
  std::vector<Piece> gone;
  archive.add(range(0, 30), gone);
  const Tokens other = joined(range(0, 10), range(500, 10));
  const auto part = archive.add(other, gone);
  ASSERT_TRUE(part);
  EXPECT_EQ(part->begin, 10);
  EXPECT_EQ(archive.cells(), 40);
  EXPECT_EQ(archive.length(other), 20);
  EXPECT_EQ(archive.length(range(0, 30)), 30);
}

TEST(PrefixArchive, TheLeastRecentlyUsedGoesFirstAndEndsBeforeBeginnings) {
  PrefixArchive archive(60);
  std::vector<Piece> gone;
  const Tokens a = range(0, 40);
  const auto a1 = archive.add(std::span(a).first(20), gone);
  const auto a2 = archive.add(a, gone);
  const auto b = archive.add(range(100, 20), gone);
  archive.use(a);
  archive.add(range(200, 20), gone);
  EXPECT_EQ(gone, std::vector<Piece>{b->piece});
  gone.clear();
  archive.use(range(200, 20));
  archive.add(range(300, 20), gone);
  EXPECT_EQ(gone, std::vector<Piece>{a2->piece});
  gone.clear();
  // What is continued stays, whatever else has to go.
  EXPECT_FALSE(archive.add(joined(range(0, 20), range(900, 41)), gone));
  EXPECT_TRUE(archive.has(a1->piece));
}

TEST(PrefixArchive, WithAPieceGoesWhatContinuesIt) {
  PrefixArchive archive(100);
  std::vector<Piece> gone;
  const Tokens a = range(0, 40);
  const auto first = archive.add(std::span(a).first(20), gone);
  archive.add(a, gone);
  archive.erase(first->piece, gone);
  EXPECT_EQ(gone.size(), 2u);
  EXPECT_EQ(archive.cells(), 0);
  EXPECT_EQ(archive.length(a), 0);
}

TEST(PrefixArchive, WithoutCellsNothingIsSaved) {
  PrefixArchive archive(0);
  std::vector<Piece> gone;
  EXPECT_FALSE(archive.add(range(0, 1), gone));
  EXPECT_TRUE(gone.empty());
}

// Against a list of all prefixes: what is found is saved, and nothing longer is.
TEST(PrefixArchive, FindsTheLongest) {
  std::mt19937 random(1);
  PrefixArchive archive(1 << 20);
  std::vector<Tokens> saved;
  std::vector<Piece> gone;
  for (int i = 0; i < 2000; ++i) {
    Tokens tokens;
    const int length = 1 + static_cast<int>(random() % 12);
    for (int k = 0; k < length; ++k) tokens.push_back(static_cast<Token>(random() % 2));
    int longest = 0;
    for (const Tokens& other : saved) {
      int same = 0;
      while (same < std::min<int>(length, static_cast<int>(other.size())) && tokens[same] == other[same]) ++same;
      longest = std::max(longest, same);
    }
    ASSERT_EQ(archive.length(tokens), longest);
    const auto parts = archive.use(tokens);
    int reach = 0;
    for (const auto& part : parts) {
      ASSERT_EQ(part.begin, reach);
      reach = part.end;
    }
    ASSERT_EQ(reach, longest);
    if (longest == length) continue;
    ASSERT_TRUE(archive.add(tokens, gone));
    saved.push_back(tokens);
  }
  EXPECT_TRUE(gone.empty());
}

}  // namespace
}  // namespace drover
