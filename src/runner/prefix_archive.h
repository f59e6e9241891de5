// Records which prefixes are saved in plain memory, outside the KV cache. Pure; the scheduler's thread owns it.
//
// A piece is the saved cells of a run of positions; they are valid only after the same earlier tokens. Pieces are never
// split, so a piece may continue another one from its middle, where their tokens begin to differ. The least recently
// used piece is dropped first, and the end of a prefix before its beginning.
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
    int whole = 0;  // all positions of the piece; a prefix may use only the first ones
    Position begin = 0;
    Position end = 0;
  };

  // cells_max 0: nothing is saved.
  explicit PrefixArchive(int cells_max);

  // The number of leading tokens that are saved.
  int length(std::span<const Token> tokens) const;
  // The pieces that hold those tokens, in order of positions. They count as used now.
  std::vector<Part> use(std::span<const Token> tokens);
  // Adds a piece for the tokens that are not saved yet; there must be at least one. Appends the pieces that were
  // dropped for it to `gone`. Returns nothing if there is no room at all.
  std::optional<Part> add(std::span<const Token> tokens, std::vector<Piece>& gone);
  // Removes a piece and all pieces that continue it, if it is there, and appends them to `gone`.
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
