#include "runner/prefix_tree.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <utility>

namespace drover {
namespace {

std::vector<Token> range(Token first, int count) {
  std::vector<Token> tokens(count);
  for (int i = 0; i < count; ++i) tokens[i] = first + i;
  return tokens;
}

TEST(PrefixTree, FindsTheLongestPrefixAndWhoHoldsIt) {
  PrefixTree tree(4);
  EXPECT_EQ(tree.longest(range(0, 10)).length, 0);
  EXPECT_EQ(tree.longest(range(0, 10)).holder, kNoSeq);
  tree.open(2, kNoSeq, 0);
  tree.append(2, range(0, 10));
  std::vector<Token> other = range(0, 6);
  other.push_back(99);
  const PrefixTree::Match match = tree.longest(other);
  EXPECT_EQ(match.length, 6);
  EXPECT_EQ(match.holder, 2);
  EXPECT_FALSE(match.whole);
  EXPECT_EQ(match.kept, 0);
}

TEST(PrefixTree, CountsSharedCellsOnce) {
  PrefixTree tree(4);
  tree.open(0, kNoSeq, 0);
  tree.append(0, range(0, 10));
  tree.open(1, 0, 7);
  tree.append(1, range(50, 5));
  EXPECT_EQ(tree.cells(), 15);
  EXPECT_EQ(tree.shared(), 7);
  EXPECT_EQ(tree.own_cells(0), 3);
  EXPECT_EQ(tree.own_cells(1), 5);
  tree.set_running(0, false);
  EXPECT_EQ(tree.used(), 12);
  EXPECT_EQ(tree.shared(), 0);
  tree.close(1);
  EXPECT_EQ(tree.cells(), 10);
  EXPECT_EQ(tree.used(), 0);
  EXPECT_EQ(tree.own_cells(0), 10);
}

TEST(PrefixTree, PrefersABranchToContinueAmongEqualMatches) {
  PrefixTree tree(4);
  for (const SeqId seq : {0, 1}) {
    tree.open(seq, kNoSeq, 0);
    tree.append(seq, range(0, 8));
  }
  tree.set_running(1, false);
  const PrefixTree::Match match = tree.longest(range(0, 12));
  EXPECT_EQ(match.holder, 1);
  EXPECT_TRUE(match.whole);
  EXPECT_EQ(match.kept, 8);
}

// Of two copies of the same tokens, the one that a running branch holds takes no kept cells.
TEST(PrefixTree, PrefersCellsOfRunningBranchesAmongEqualMatches) {
  for (const SeqId running : {0, 1}) {
    PrefixTree tree(4);
    for (const SeqId seq : {0, 1}) {
      tree.open(seq, kNoSeq, 0);
      tree.append(seq, range(0, 8));
      tree.append(seq, range(100 * (seq + 1), 4));  // neither ends with the match, so neither can be continued
    }
    tree.set_running(1 - running, false);
    const PrefixTree::Match match = tree.longest(range(0, 12));
    EXPECT_EQ(match.length, 8);
    EXPECT_EQ(match.holder, running);
    EXPECT_FALSE(match.whole);
    EXPECT_EQ(match.kept, 0);
  }
}

TEST(PrefixTree, WholeMatchesEndWhereTheBranchEnds) {
  PrefixTree tree(4);
  for (const SeqId seq : {0, 1, 2}) {
    tree.open(seq, kNoSeq, 0);
    tree.append(seq, range(0, 4 + 4 * seq));
  }
  tree.set_running(0, false);
  tree.set_running(2, false);
  EXPECT_EQ(tree.longest_whole(range(0, 11)).holder, 0);  // branch 2 is longer, branch 1 is running
  EXPECT_EQ(tree.longest_whole(range(0, 12)).holder, 2);
  EXPECT_EQ(tree.longest_whole(range(0, 3)).length, 0);
}

// The tree against the plainest model: for each sequence its tokens and which cells hold them.
class Model {
 public:
  struct Cell {
    Token token;
    int id;
  };
  std::map<SeqId, std::vector<Cell>> branches;
  std::set<SeqId> running;
  int next_id = 0;

  int count(int running_holders_min) const {
    std::map<int, int> holders;
    for (const auto& [seq, cells] : branches) {
      for (const Cell& cell : cells) holders[cell.id] += static_cast<int>(running.count(seq));
    }
    int n = 0;
    for (const auto& [id, of_running] : holders) n += of_running >= running_holders_min;
    return n;
  }
  int own(SeqId seq) const {
    std::set<int> others;
    for (const auto& [other, cells] : branches) {
      for (const Cell& cell : cells) {
        if (other != seq) others.insert(cell.id);
      }
    }
    int n = 0;
    for (const Cell& cell : branches.at(seq)) n += others.count(cell.id) == 0;
    return n;
  }
  int agreed(SeqId seq, const std::vector<Token>& tokens) const {
    const auto& cells = branches.at(seq);
    std::size_t n = 0;
    while (n < cells.size() && n < tokens.size() && cells[n].token == tokens[n]) ++n;
    return static_cast<int>(n);
  }
};

class PrefixTreeRandom : public testing::TestWithParam<int> {};

TEST_P(PrefixTreeRandom, AgreesWithThePlainModel) {
  constexpr int kSeqs = 8;
  std::mt19937 random(GetParam());
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  PrefixTree tree(kSeqs);
  Model model;
  for (int step = 0; step < 3000; ++step) {
    const SeqId seq = below(kSeqs);
    std::vector<Token> tokens(1 + below(12));
    for (Token& token : tokens) token = below(2);
    if (tree.is_empty(seq)) {
      const PrefixTree::Match match = tree.longest(tokens);
      tree.open(seq, match.holder, match.length);
      auto& cells = model.branches[seq];
      if (match.length > 0) {
        const auto& from = model.branches.at(match.holder);
        cells.assign(from.begin(), from.begin() + match.length);
      }
      model.running.insert(seq);
    } else if (const int what = below(8); what < 4 && tree.is_running(seq)) {
      tree.append(seq, tokens);
      for (const Token token : tokens) model.branches[seq].push_back({token, model.next_id++});
    } else if (what == 5) {
      const int length = below(tree.length(seq) + 1);
      tree.truncate(seq, length);
      model.branches[seq].resize(length);
    } else if (what == 6) {
      tree.close(seq);
      model.branches.erase(seq);
      model.running.erase(seq);
    } else {
      tree.set_running(seq, !tree.is_running(seq));
      if (model.running.erase(seq) == 0) model.running.insert(seq);
    }

    ASSERT_EQ(tree.cells(), model.count(0));
    ASSERT_EQ(tree.used(), model.count(1));
    ASSERT_EQ(tree.shared(), model.count(2));
    ASSERT_LE(tree.nodes(), 2 * static_cast<int>(model.branches.size()));
    int longest = 0;
    int longest_whole = 0;
    for (const auto& [each, cells] : model.branches) {
      ASSERT_EQ(tree.length(each), static_cast<int>(cells.size()));
      ASSERT_EQ(tree.own_cells(each), model.own(each));
      const int agreed = model.agreed(each, tokens);
      longest = std::max(longest, agreed);
      if (agreed == static_cast<int>(cells.size()) && model.running.count(each) == 0) {
        longest_whole = std::max(longest_whole, agreed);
      }
    }
    const PrefixTree::Match match = tree.longest(tokens);
    ASSERT_EQ(match.length, longest);
    if (match.length > 0) {
      ASSERT_EQ(model.agreed(match.holder, tokens), longest);
      ASSERT_EQ(match.whole, longest_whole == longest);
      int kept = 0;
      for (int i = 0; i < match.length; ++i) {
        bool used = false;
        for (const SeqId each : model.running) {
          const auto& cells = model.branches[each];
          used |= static_cast<int>(cells.size()) > i && cells[i].id == model.branches[match.holder][i].id;
        }
        kept += !used;
      }
      ASSERT_EQ(match.kept, kept);
    }
    ASSERT_EQ(tree.longest_whole(tokens).length, longest_whole);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PrefixTreeRandom, testing::Range(1, 9));

}  // namespace
}  // namespace drover
