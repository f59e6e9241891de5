// An engine without a model, for tests. It manages cells like the real one and enforces the real one's rules on its
// callers. Its next token is a hash of exactly the (position, token) pairs that the row can see, so any wrong cell
// changes the output.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace drover {

class FakeEngine final : public Engine {
 public:
  // Output tokens are below `vocabulary`.
  FakeEngine(EngineLimits limits, int vocabulary);

  EngineLimits limits() const override { return limits_; }
  bool apply(std::span<const MemoryOperation> operations) override;
  DecodeStatus decode(std::span<const Row> rows) override;

  // The next token for each row with output of the last decode(), in row order.
  std::span<const Token> outputs() const { return outputs_; }
  // The next decode() returns this and computes nothing.
  void fail_next(DecodeStatus why) { fail_next_ = why; }
  // The next kRestore fails.
  void fail_next_restore() { fail_next_restore_ = true; }

  // Saved cells, cells that any sequence holds, and all rows ever computed.
  int cells_saved() const;
  int cells_used() const { return limits_.cells - static_cast<int>(free_.size()); }
  std::int64_t rows_computed() const { return rows_computed_; }
  int length(SeqId seq) const { return static_cast<int>(seqs_[seq].cells.size()); }
  Token token_at(SeqId seq, Position position) const { return cells_[seqs_[seq].cells[position]].token; }
  // The first rule that the caller broke; empty if none. Nothing is computed after that.
  const std::string& violation() const { return violation_; }

 private:
  struct Cell {
    Token token = 0;
    Position position = 0;
    int holders = 0;
  };
  struct Held {
    std::vector<int> cells;  // by position
    std::uint64_t sum = 0;   // of the cells' hashes
  };

  // A saved run of cells: valid only after the same earlier tokens.
  struct Saved {
    Position begin = 0;
    std::uint64_t before = 0;  // sum of the hashes of the cells before it
    std::vector<Token> tokens;
  };

  void copy(const MemoryOperation& operation);
  void save(const MemoryOperation& operation);
  bool restore(const MemoryOperation& operation);
  void remove(const MemoryOperation& operation);
  void hold(Held& held, int cell);
  void release_last(Held& held);
  bool is_seq(SeqId seq) const { return seq >= 0 && seq < limits_.seqs; }
  void violate(std::string what);

  EngineLimits limits_;
  int vocabulary_;
  std::vector<Cell> cells_;
  std::vector<int> free_;
  std::vector<Held> seqs_;
  std::map<Piece, Saved> saved_;
  std::set<SeqId> incomplete_;  // in this apply(): sequences whose cells could not be restored
  std::vector<Token> outputs_;
  std::optional<DecodeStatus> fail_next_;
  bool fail_next_restore_ = false;
  std::int64_t rows_computed_ = 0;
  std::string violation_;
};

// The right answer: FakeEngine's next token after a sequence of tokens that runs alone.
class AloneAnswer {
 public:
  explicit AloneAnswer(int vocabulary) : vocabulary_(vocabulary) {}
  void push(Token token);
  Token next() const;

 private:
  int vocabulary_;
  Position position_ = 0;
  std::uint64_t sum_ = 0;
};

}  // namespace drover
