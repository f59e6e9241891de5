#include "runner/prefix_tree.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/check.h"

namespace drover {

struct PrefixTree::Node {
  Node* parent = nullptr;
  int begin = 0;              // position of the first token
  std::vector<Token> tokens;  // never empty, but for the root
  std::vector<std::unique_ptr<Node>> children;
  std::vector<Slot> ends;  // branches whose last cell is this node's last
  int branches = 0;        // branches that hold these cells
  int running = 0;         // of those: running

  int length() const { return static_cast<int>(tokens.size()); }
  int end() const { return begin + length(); }
};

// A search's question and the best answer so far.
struct PrefixTree::Search {
  std::span<const Token> tokens;
  bool whole_only;
  const Node* node = nullptr;  // holds the last token of the match
  Slot whole = kNoSlot;
  int length = 0;
  int kept = 0;
};

namespace {

int common_prefix(std::span<const Token> a, std::span<const Token> b) {
  const std::size_t n = std::min(a.size(), b.size());
  return static_cast<int>(std::mismatch(a.begin(), a.begin() + n, b.begin()).first - a.begin());
}

}  // namespace

PrefixTree::PrefixTree(int slots) : root_(std::make_unique<Node>()), branches_(slots) {}
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

// Visits the matching children of a node that matches to its end. `kept`: cells up to there that nobody running holds.
// Among equally long matches a branch to continue is best, then the one that takes the fewest kept cells.
void PrefixTree::search(const Node& node, int kept, Search& search) const {
  const auto rest = search.tokens.subspan(node.end());
  if (rest.empty()) return;
  for (const auto& child : node.children) {
    if (child->tokens.front() != rest.front()) continue;
    const int matched = common_prefix(child->tokens, rest);
    const int length = child->begin + matched;
    const int child_kept = kept + (child->running == 0 ? matched : 0);
    Slot whole = kNoSlot;
    if (matched == child->length()) {
      const auto idle = std::find_if(child->ends.begin(), child->ends.end(), [this](Slot s) { return !is_running(s); });
      if (idle != child->ends.end()) whole = *idle;
    }
    const bool eligible = whole != kNoSlot || !search.whole_only;
    const auto rank = [](int n, Slot w, int k) { return std::tuple(n, w != kNoSlot, -k); };
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
  Slot holder = search.whole;
  if (holder == kNoSlot) {
    const Node* node = search.node;
    while (node->ends.empty()) node = node->children.front().get();
    holder = node->ends.front();
  }
  return {.length = search.length, .holder = holder, .whole = search.whole != kNoSlot, .kept = search.kept};
}

void PrefixTree::open(Slot slot, Slot from, int length) {
  DROVER_CHECK(is_empty(slot));
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
  attach(slot, *node);
  branches_[slot].running = true;
  for (; node != root_.get(); node = node->parent) count(*node, 1, 1);
}

void PrefixTree::append(Slot slot, std::span<const Token> tokens) {
  if (tokens.empty()) return;
  DROVER_CHECK(is_running(slot));
  Node* node = branches_[slot].end;
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
  detach(slot);
  attach(slot, *child);
  count(*child, 1, 1);
  node->children.push_back(std::move(child));
  ++nodes_;
}

void PrefixTree::truncate(Slot slot, int length) {
  DROVER_CHECK(!is_empty(slot) && length >= 0 && length <= this->length(slot));
  const int running = is_running(slot) ? 1 : 0;
  Node* node = branches_[slot].end;
  detach(slot);
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
  attach(slot, *node);
}

void PrefixTree::close(Slot slot) {
  truncate(slot, 0);
  detach(slot);
  branches_[slot] = {};
}

void PrefixTree::set_running(Slot slot, bool running) {
  DROVER_CHECK(!is_empty(slot) && is_running(slot) != running);
  branches_[slot].running = running;
  for (Node* node = branches_[slot].end; node != root_.get(); node = node->parent) count(*node, 0, running ? 1 : -1);
}

int PrefixTree::length(Slot slot) const {
  return branches_[slot].end->end();
}

std::vector<Token> PrefixTree::tokens(Slot slot) const {
  std::vector<Token> tokens(length(slot));
  for (const Node* node = branches_[slot].end; node != root_.get(); node = node->parent) {
    std::copy(node->tokens.begin(), node->tokens.end(), tokens.begin() + node->begin);
  }
  return tokens;
}

int PrefixTree::own_cells(Slot slot) const {
  const Node* node = branches_[slot].end;
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

// Puts a new node before `node` that takes its cells up to position `at`. The branches' ends stay where they are.
void PrefixTree::split(Node& node, int at) {
  auto upper = std::make_unique<Node>();
  const int length = at - node.begin;
  upper->parent = node.parent;
  upper->begin = node.begin;
  upper->tokens.assign(node.tokens.begin(), node.tokens.begin() + length);
  upper->branches = node.branches;
  upper->running = node.running;
  auto& siblings = node.parent->children;
  const auto place = std::find_if(siblings.begin(), siblings.end(), [&](const auto& s) { return s.get() == &node; });
  node.parent = upper.get();
  node.begin = at;
  node.tokens.erase(node.tokens.begin(), node.tokens.begin() + length);
  upper->children.push_back(std::move(*place));
  *place = std::move(upper);
  ++nodes_;
}

void PrefixTree::erase(Node& node) {
  DROVER_CHECK(node.children.empty() && node.ends.empty());
  std::erase_if(node.parent->children, [&](const auto& s) { return s.get() == &node; });
  --nodes_;
}

// Joins a node to its only child if no branch ends between them. The child stays, so that no end moves.
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

void PrefixTree::detach(Slot slot) {
  std::erase(branches_[slot].end->ends, slot);
}

void PrefixTree::attach(Slot slot, Node& node) {
  branches_[slot].end = &node;
  node.ends.push_back(slot);
}

}  // namespace drover
