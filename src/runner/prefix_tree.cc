#include "runner/prefix_tree.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/check.h"

namespace drover {

struct PrefixTree::Node {
  Node* parent = nullptr;
  int begin = 0;              // position of the first token
  std::vector<Token> tokens;  // empty only in the root
  std::vector<std::unique_ptr<Node>> children;
  std::vector<SeqId> ends;  // branches whose last cell is this node's last
  int branches = 0;         // branches that hold these cells
  int running = 0;          // of those: running

  int length() const { return static_cast<int>(tokens.size()); }
  int end() const { return begin + length(); }
};

// A search: its question, and the best answer so far.
struct PrefixTree::Search {
  std::span<const Token> tokens;
  bool whole_only;
  const Node* node = nullptr;  // holds the last token of the match
  SeqId whole = kNoSeq;
  int length = 0;
  int kept = 0;
};

namespace {

int common_prefix(std::span<const Token> a, std::span<const Token> b) {
  const std::size_t n = std::min(a.size(), b.size());
  return static_cast<int>(std::mismatch(a.begin(), a.begin() + n, b.begin()).first - a.begin());
}

}  // namespace

PrefixTree::PrefixTree(int seqs) : root_(std::make_unique<Node>()), branches_(seqs) {}
PrefixTree::~PrefixTree() = default;

PrefixTree::Match PrefixTree::longest(std::span<const Token> tokens) const {
  Search search{.tokens = tokens, .whole_only = false};
  this->search(*root_, 0, search);
  return result(search);
}

PrefixTree::Match PrefixTree::longest_whole(std::span<const Token> tokens) const {
  Search search{.tokens = tokens, .whole_only = true};
  this->search(*root_, 0, search);
  return result(search);
}

// Visits the matching children of a node that matches to its end. `kept`: cells up to there that no running branch
// holds. Among equally long matches, a branch that can be continued is best, then the one with the fewest kept cells.
void PrefixTree::search(const Node& node, int kept, Search& search) const {
  const auto rest = search.tokens.subspan(node.end());
  if (rest.empty()) return;
  for (const auto& child : node.children) {
    if (child->tokens.front() != rest.front()) continue;
    const int matched = common_prefix(child->tokens, rest);
    const int length = child->begin + matched;
    const int child_kept = kept + (child->running == 0 ? matched : 0);
    SeqId whole = kNoSeq;
    if (matched == child->length()) {
      const auto idle =
          std::find_if(child->ends.begin(), child->ends.end(), [this](SeqId s) { return !is_running(s); });
      if (idle != child->ends.end()) whole = *idle;
    }
    const bool eligible = whole != kNoSeq || !search.whole_only;
    const auto rank = [](int n, SeqId w, int k) { return std::tuple(n, w != kNoSeq, -k); };
    if (eligible && rank(length, whole, child_kept) > rank(search.length, search.whole, search.kept)) {
      search.node = child.get();
      search.whole = whole;
      search.length = length;
      search.kept = child_kept;
    }
    if (matched == child->length()) this->search(*child, child_kept, search);
  }
}

PrefixTree::Match PrefixTree::result(const Search& search) const {
  if (search.node == nullptr) return {};
  SeqId holder = search.whole;
  if (holder == kNoSeq) {
    const Node* node = search.node;
    while (node->ends.empty()) node = node->children.front().get();
    holder = node->ends.front();
  }
  return {.length = search.length, .holder = holder, .whole = search.whole != kNoSeq, .kept = search.kept};
}

void PrefixTree::open(SeqId seq, SeqId from, int length) {
  DROVER_CHECK(is_empty(seq));
  Node* node = root_.get();
  if (length > 0) {
    node = branches_[from].end;
    DROVER_CHECK(node != nullptr && length <= node->end());
    while (node->begin >= length) node = node->parent;
    if (length < node->end()) {
      split(*node, length);
      node = node->parent;
    }
  }
  attach(seq, *node);
  branches_[seq].running = true;
  for (; node != root_.get(); node = node->parent) count(*node, 1, 1);
}

void PrefixTree::append(SeqId seq, std::span<const Token> tokens) {
  if (tokens.empty()) return;
  DROVER_CHECK(is_running(seq));
  Node* node = branches_[seq].end;
  if (node != root_.get() && node->branches == 1) {
    node->tokens.insert(node->tokens.end(), tokens.begin(), tokens.end());
    cells_ += static_cast<int>(tokens.size());
    used_ += static_cast<int>(tokens.size());
    return;
  }
  auto child = std::make_unique<Node>();
  child->parent = node;
  child->begin = node->end();
  child->tokens.assign(tokens.begin(), tokens.end());
  detach(seq);
  attach(seq, *child);
  count(*child, 1, 1);
  node->children.push_back(std::move(child));
  ++nodes_;
}

void PrefixTree::truncate(SeqId seq, int length) {
  DROVER_CHECK(!is_empty(seq) && length >= 0 && length <= this->length(seq));
  const int running = is_running(seq) ? 1 : 0;
  Node* node = branches_[seq].end;
  detach(seq);
  while (node != root_.get() && node->begin >= length) {
    Node* parent = node->parent;
    count(*node, -1, -running);
    if (node->branches == 0) {
      erase(*node);
    } else {
      fold(*node);
    }
    node = parent;
  }
  if (length < node->end()) {
    if (node->branches == 1) {
      weigh(*node, -1);
      node->tokens.resize(length - node->begin);
      weigh(*node, 1);
    } else {
      split(*node, length);
      Node* upper = node->parent;
      count(*node, -1, -running);
      fold(*node);
      node = upper;
    }
  }
  attach(seq, *node);
}

void PrefixTree::close(SeqId seq) {
  truncate(seq, 0);
  detach(seq);
  branches_[seq] = {};
}

void PrefixTree::set_running(SeqId seq, bool running) {
  DROVER_CHECK(!is_empty(seq) && is_running(seq) != running);
  branches_[seq].running = running;
  for (Node* node = branches_[seq].end; node != root_.get(); node = node->parent) count(*node, 0, running ? 1 : -1);
}

int PrefixTree::length(SeqId seq) const {
  return branches_[seq].end->end();
}

std::vector<Token> PrefixTree::tokens(SeqId seq) const {
  std::vector<Token> tokens(length(seq));
  for (const Node* node = branches_[seq].end; node != root_.get(); node = node->parent) {
    std::copy(node->tokens.begin(), node->tokens.end(), tokens.begin() + node->begin);
  }
  return tokens;
}

int PrefixTree::own_cells(SeqId seq) const {
  const Node* node = branches_[seq].end;
  const int end = node->end();
  while (node != root_.get() && node->branches == 1) node = node->parent;
  return end - node->end();
}

void PrefixTree::weigh(const Node& node, int sign) {
  const int cells = sign * node.length();
  if (node.branches > 0) cells_ += cells;
  if (node.running > 0) used_ += cells;
  if (node.running > 1) shared_ += cells;
}

void PrefixTree::count(Node& node, int branches, int running) {
  weigh(node, -1);
  node.branches += branches;
  node.running += running;
  weigh(node, 1);
}

// Inserts a new node before `node`, which takes its cells up to position `at`. The ends of branches do not move.
void PrefixTree::split(Node& node, int at) {
  auto upper = std::make_unique<Node>();
  const int length = at - node.begin;
  upper->parent = node.parent;
  upper->begin = node.begin;
  upper->tokens.assign(node.tokens.begin(), node.tokens.begin() + length);
  upper->branches = node.branches;
  upper->running = node.running;
  auto& siblings = node.parent->children;
  const auto found = std::find_if(siblings.begin(), siblings.end(), [&](const auto& s) { return s.get() == &node; });
  node.parent = upper.get();
  node.begin = at;
  node.tokens.erase(node.tokens.begin(), node.tokens.begin() + length);
  upper->children.push_back(std::move(*found));
  *found = std::move(upper);
  ++nodes_;
}

void PrefixTree::erase(Node& node) {
  DROVER_CHECK(node.children.empty() && node.ends.empty());
  std::erase_if(node.parent->children, [&](const auto& s) { return s.get() == &node; });
  --nodes_;
}

// Merges a node into its only child if no branch ends between them. The child stays, so no branch's end moves.
void PrefixTree::fold(Node& node) {
  if (!node.ends.empty() || node.children.size() != 1) return;
  std::unique_ptr<Node> child = std::move(node.children.front());
  child->tokens.insert(child->tokens.begin(), node.tokens.begin(), node.tokens.end());
  child->begin = node.begin;
  child->parent = node.parent;
  auto& siblings = node.parent->children;
  *std::find_if(siblings.begin(), siblings.end(), [&](const auto& s) { return s.get() == &node; }) = std::move(child);
  --nodes_;
}

void PrefixTree::detach(SeqId seq) {
  std::erase(branches_[seq].end->ends, seq);
}

void PrefixTree::attach(SeqId seq, Node& node) {
  branches_[seq].end = &node;
  node.ends.push_back(seq);
}

}  // namespace drover
