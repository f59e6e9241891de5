#include "runner/prefix_archive.h"

#include <algorithm>

#include "base/check.h"

namespace drover {

PrefixArchive::PrefixArchive(int cells_max) : cells_max_(cells_max) {
  nodes_[0] = {};
}

// A child's first token differs from the parent's token there, and from the first tokens of other children that begin
// there. So at most one path matches.
std::vector<PrefixArchive::Part> PrefixArchive::find(std::span<const Token> tokens) const {
  std::vector<Part> parts;
  const Node* node = &nodes_.at(0);
  Position reach = 0;
  while (reach < static_cast<int>(tokens.size())) {
    const auto continues = [&](Piece child) {
      const Node& next = nodes_.at(child);
      return next.begin == reach && next.tokens.front() == tokens[reach];
    };
    const auto child = std::find_if(node->children.begin(), node->children.end(), continues);
    if (child == node->children.end()) break;
    node = &nodes_.at(*child);
    const auto rest = tokens.subspan(reach);
    const auto n = std::min(rest.size(), node->tokens.size());
    const auto same = std::mismatch(rest.begin(), rest.begin() + n, node->tokens.begin()).first - rest.begin();
    parts.push_back({.piece = *child,
                     .whole = static_cast<int>(node->tokens.size()),
                     .begin = reach,
                     .end = reach + static_cast<int>(same)});
    reach = parts.back().end;
  }
  return parts;
}

int PrefixArchive::length(std::span<const Token> tokens) const {
  const std::vector<Part> parts = find(tokens);
  return parts.empty() ? 0 : parts.back().end;
}

std::vector<PrefixArchive::Part> PrefixArchive::use(std::span<const Token> tokens) {
  std::vector<Part> parts = find(tokens);
  ++uses_;
  for (const Part& part : parts) nodes_.at(part.piece).used = uses_;
  return parts;
}

std::optional<PrefixArchive::Part> PrefixArchive::add(std::span<const Token> tokens, std::vector<Piece>& gone) {
  const std::vector<Part> parts = use(tokens);
  const Piece parent = parts.empty() ? 0 : parts.back().piece;
  const Position begin = parts.empty() ? 0 : parts.back().end;
  const int count = static_cast<int>(tokens.size()) - begin;
  DROVER_CHECK(count > 0);
  while (cells_ + count > cells_max_) {
    const Piece first = victim();
    if (first == 0) return std::nullopt;
    erase(first, gone);
  }
  const Piece piece = ++last_;
  nodes_[piece] = {.parent = parent,
                   .begin = begin,
                   .tokens = {tokens.begin() + begin, tokens.end()},
                   .children = {},
                   .used = uses_};
  nodes_.at(parent).children.push_back(piece);
  cells_ += count;
  return Part{.piece = piece, .whole = count, .begin = begin, .end = begin + count};
}

void PrefixArchive::erase(Piece piece, std::vector<Piece>& gone) {
  const auto found = nodes_.find(piece);
  if (found == nodes_.end()) return;
  while (!found->second.children.empty()) erase(found->second.children.back(), gone);
  std::erase(nodes_.at(found->second.parent).children, piece);
  cells_ -= static_cast<int>(found->second.tokens.size());
  nodes_.erase(found);
  gone.push_back(piece);
}

// The piece to drop first: no piece continues it, and it is not part of the prefix that was used last. 0: none.
Piece PrefixArchive::victim() const {
  Piece first = 0;
  std::uint64_t used = uses_;
  for (const auto& [piece, node] : nodes_) {
    if (piece == 0 || !node.children.empty() || node.used >= used) continue;
    first = piece;
    used = node.used;
  }
  return first;
}

}  // namespace drover
