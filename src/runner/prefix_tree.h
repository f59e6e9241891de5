// Records which tokens the KV cache holds, and in which engine sequences. Pure; the scheduler's thread owns it.
//
// A branch is the cells of one engine sequence: positions 0, 1, 2, … without a gap. Branches that share cells share the
// nodes of a radix tree. Each node is a run of cells that the same branches hold, so cell counts are exact. Two
// branches that computed the same tokens separately hold different cells and have different nodes: several children of
// a node may begin with the same token.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace drover {

inline constexpr SeqId kNoSeq = -1;

class PrefixTree {
 public:
  // The leading tokens of a sequence that are in the cache.
  struct Match {
    int length = 0;
    SeqId holder = kNoSeq;  // a branch that holds them
    bool whole = false;     // the holder is not running and ends right there: it can be continued as it is
    int kept = 0;           // of `length`: cells that no running branch holds
  };

  explicit PrefixTree(int seqs);
  ~PrefixTree();

  // The most leading tokens that any branch holds.
  Match longest(std::span<const Token> tokens) const;
  // The longest branch that is not running and is, as a whole, the beginning of `tokens`.
  Match longest_whole(std::span<const Token> tokens) const;

  // Starts a running branch in an empty sequence with the first `length` cells of `from` (kNoSeq and 0: no cells).
  void open(SeqId seq, SeqId from, int length);
  // Adds computed tokens at the end of a running branch.
  void append(SeqId seq, std::span<const Token> tokens);
  // Removes a branch's cells from `length` on.
  void truncate(SeqId seq, int length);
  // Removes all cells of a branch; its sequence is empty afterwards.
  void close(SeqId seq);
  void set_running(SeqId seq, bool running);

  bool is_empty(SeqId seq) const { return branches_[seq].end == nullptr; }
  bool is_running(SeqId seq) const { return branches_[seq].running; }
  int length(SeqId seq) const;
  std::vector<Token> tokens(SeqId seq) const;
  // Cells that this branch alone holds: the tail that truncate() could free.
  int own_cells(SeqId seq) const;
  int seqs() const { return static_cast<int>(branches_.size()); }

  int nodes() const { return nodes_; }

  int cells() const { return cells_; }    // held by any branch
  int used() const { return used_; }      // of those: held by a running branch
  int shared() const { return shared_; }  // of those: held by more than one running branch

 private:
  struct Node;
  struct Branch {
    Node* end = nullptr;  // the node whose last cell is the branch's last; the root while it holds no cell
    bool running = false;
  };
  struct Search;

  void search(const Node& node, int kept, Search& search) const;
  Match result(const Search& search) const;
  void weigh(const Node& node, int sign);
  void count(Node& node, int branches, int running);
  void split(Node& node, int at);
  void erase(Node& node);
  void fold(Node& node);
  void detach(SeqId seq);
  void attach(SeqId seq, Node& node);

  std::unique_ptr<Node> root_;
  std::vector<Branch> branches_;  // by SeqId
  int nodes_ = 0;                 // without the root; at most two per branch
  int cells_ = 0;
  int used_ = 0;
  int shared_ = 0;
};

}  // namespace drover
