// Which tokens the KV cache holds, and in which slots. Pure bookkeeping; the scheduler's thread owns it.
//
// A branch is what one engine slot holds: cells for positions 0, 1, 2, … without a gap. Branches that share cells share
// the nodes of a radix tree, so each node is a run of cells held by the same branches, and the counts of cells are
// exact. Two branches that computed the same tokens separately hold different cells, and so have nodes of their own: a
// node may have several children that begin with the same token.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace drover {

inline constexpr Slot kNoSlot = -1;

class PrefixTree {
 public:
  // The leading tokens of a sequence that are in the cache.
  struct Match {
    int length = 0;
    Slot holder = kNoSlot;  // a branch that holds them
    bool whole = false;     // the holder is not running and ends right there: it can be continued as it is
    int kept = 0;           // of `length`: cells that no running branch holds
  };

  explicit PrefixTree(int slots);
  ~PrefixTree();

  // The most leading tokens that any branch holds.
  Match longest(std::span<const Token> tokens) const;
  // The longest branch that is not running and is, as a whole, the beginning of `tokens`.
  Match longest_whole(std::span<const Token> tokens) const;

  // Starts a running branch in an empty slot with the first `length` cells of `from` (kNoSlot and 0: with nothing).
  void open(Slot slot, Slot from, int length);
  // Adds computed tokens at the end of a running branch.
  void append(Slot slot, std::span<const Token> tokens);
  // Takes away what a branch holds from `length` on.
  void truncate(Slot slot, int length);
  // Takes away all that a branch holds; its slot is empty afterwards.
  void close(Slot slot);
  void set_running(Slot slot, bool running);

  bool is_empty(Slot slot) const { return branches_[slot].end == nullptr; }
  bool is_running(Slot slot) const { return branches_[slot].running; }
  int length(Slot slot) const;
  std::vector<Token> tokens(Slot slot) const;
  // Cells that this branch alone holds: the tail that truncate() could free.
  int own_cells(Slot slot) const;
  int slots() const { return static_cast<int>(branches_.size()); }

  int nodes() const { return nodes_; }

  int cells() const { return cells_; }    // held by any branch
  int used() const { return used_; }      // of those: held by a running branch
  int shared() const { return shared_; }  // of those: held by more than one running branch

 private:
  struct Node;
  struct Branch {
    Node* end = nullptr;  // the node whose last cell is the branch's last; the root while it holds nothing
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
  void detach(Slot slot);
  void attach(Slot slot, Node& node);

  std::unique_ptr<Node> root_;
  std::vector<Branch> branches_;  // by slot
  int nodes_ = 0;                 // but for the root; at most two for each branch
  int cells_ = 0;
  int used_ = 0;
  int shared_ = 0;
};

}  // namespace drover
