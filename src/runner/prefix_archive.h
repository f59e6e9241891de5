// Which prefixes are saved outside the KV cache, in plain memory. Pure bookkeeping; the scheduler's thread owns it.
//
// A piece is a run of positions, given all tokens before it. Pieces are never split, so one may continue another from
// the middle; it begins where it differs. The least recently used goes first, and of a prefix its end.
#pragma once

#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"

namespace drover {

class PrefixArchive {
 public:
  struct Part {
    Piece piece = 0;
    int whole = 0;  // positions that the piece has in all; a prefix may take the first ones only
    Position begin = 0;
    Position end = 0;
  };

  // 0: nothing is ever saved.
  explicit PrefixArchive(int cells_max);

  // How many leading tokens are saved.
  int length(std::span<const Token> tokens) const;
  // The pieces that have them, in order of positions. They count as used now.
  std::vector<Part> use(std::span<const Token> tokens);
  // A new piece for those tokens that are not saved; there must be some. Appends the pieces that had to go to `gone`.
  // Nothing if there is no room at all.
  std::optional<Part> add(std::span<const Token> tokens, std::vector<Piece>& gone);
  // Takes out a piece and all that continue it, if it is there; appends them to `gone`.
  void erase(Piece piece, std::vector<Piece>& gone);

  bool has(Piece piece) const { return nodes_.count(piece) > 0; }
  int cells() const { return cells_; }

 private:
  struct Node {
    Piece parent = 0;
    Position begin = 0;
    std::vector<Token> tokens;
    std::vector<Piece> children;
    std::uint64_t used = 0;
    Position end() const { return begin + static_cast<int>(tokens.size()); }
  };

  std::vector<Part> find(std::span<const Token> tokens) const;
  Piece victim() const;

  const int cells_max_;
  std::unordered_map<Piece, Node> nodes_;  // 0: the root, which has no tokens
  Piece last_ = 0;
  std::uint64_t uses_ = 0;
  int cells_ = 0;
};

}  // namespace drover
