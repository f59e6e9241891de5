#include "engine/fake_engine.h"

#include <fmt/format.h>

#include <utility>

namespace drover {
namespace {

// The finalizer of splitmix64: each bit of the input changes about half of the output.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

std::uint64_t cell_hash(Position position, Token token) {
  return mix(static_cast<std::uint64_t>(static_cast<std::uint32_t>(position)) << 32 |
             static_cast<std::uint32_t>(token));
}

// A sum does not depend on the order of cells, and cells can be subtracted again.
Token token_of(std::uint64_t sum, int vocabulary) {
  return static_cast<Token>(mix(sum) % static_cast<std::uint64_t>(vocabulary));
}

}  // namespace

FakeEngine::FakeEngine(EngineLimits limits, int vocabulary)
    : limits_(limits), vocabulary_(vocabulary), cells_(limits.cells), seqs_(limits.seqs) {
  for (int cell = limits.cells - 1; cell >= 0; --cell) free_.push_back(cell);
}

bool FakeEngine::apply(std::span<const MemoryOperation> operations) {
  incomplete_.clear();
  for (const MemoryOperation& operation : operations) {
    if (!violation_.empty()) break;
    switch (operation.kind) {
      case MemoryOperation::Kind::kCopy:
        copy(operation);
        break;
      case MemoryOperation::Kind::kRemove:
        remove(operation);
        break;
      case MemoryOperation::Kind::kSave:
        save(operation);
        break;
      case MemoryOperation::Kind::kRestore:
        if (!restore(operation)) incomplete_.insert(operation.to);
        break;
      case MemoryOperation::Kind::kForget:
        if (saved_.erase(operation.piece) == 0) violate("something is forgotten that is not there");
        break;
    }
  }
  return incomplete_.empty();
}

int FakeEngine::cells_saved() const {
  int cells = 0;
  for (const auto& [piece, saved] : saved_) cells += static_cast<int>(saved.tokens.size());
  return cells;
}

void FakeEngine::save(const MemoryOperation& operation) {
  const auto& [kind, from, to, begin, end, piece] = operation;
  if (!is_seq(from) || begin < 0 || begin >= end || end > length(from)) {
    return violate(fmt::format("[{}, {}) of sequence {} is saved", begin, end, from));
  }
  if (saved_.count(piece) > 0) return violate("a piece is saved twice");
  Saved saved{.begin = begin, .before = 0, .tokens = {}};
  for (Position position = 0; position < begin; ++position) {
    saved.before += cell_hash(position, token_at(from, position));
  }
  for (Position position = begin; position < end; ++position) saved.tokens.push_back(token_at(from, position));
  saved_.emplace(piece, std::move(saved));
  if (cells_saved() > limits_.saved_cells) violate("too much is saved");
}

bool FakeEngine::restore(const MemoryOperation& operation) {
  const auto& [kind, from, to, begin, end, piece] = operation;
  if (incomplete_.count(to) > 0) return false;
  const auto found = saved_.find(piece);
  if (found == saved_.end() || !is_seq(to)) return violate("something is restored that is not there"), false;
  const Saved& saved = found->second;
  const auto size = static_cast<int>(saved.tokens.size());
  if (begin != length(to) || begin < saved.begin || begin >= end || end > saved.begin + size) {
    violate(fmt::format("[{}, {}) is restored to sequence {}, which holds {}", begin, end, to, length(to)));
    return false;
  }
  std::uint64_t before = saved.before;
  for (Position position = saved.begin; position < begin; ++position) {
    before += cell_hash(position, saved.tokens[position - saved.begin]);
  }
  if (before != seqs_[to].sum) return violate("what is restored came after other tokens"), false;
  if (std::exchange(fail_next_restore_, false) || free_.size() < saved.tokens.size()) return false;
  for (Position position = begin; position < end; ++position) {
    const int cell = free_.back();
    free_.pop_back();
    cells_[cell] = {.token = saved.tokens[position - saved.begin], .position = position, .holders = 0};
    hold(seqs_[to], cell);
  }
  return true;
}

void FakeEngine::copy(const MemoryOperation& operation) {
  const auto& [kind, from, to, begin, end, piece] = operation;
  if (incomplete_.count(from) > 0) return static_cast<void>(incomplete_.insert(to));
  if (limits_.memory != MemoryKind::kShared) return violate("copy in memory that is not shared");
  if (!is_seq(from) || !is_seq(to) || from == to) return violate(fmt::format("copy from sequence {} to {}", from, to));
  const int last = end < 0 ? length(from) : end;
  if (begin < 0 || begin >= last || last > length(from)) {
    return violate(fmt::format("copy of [{}, {}) from sequence {}, which holds {}", begin, last, from, length(from)));
  }
  if (begin != length(to)) {
    return violate(fmt::format("copy of [{}, {}) to sequence {}, which holds {}", begin, last, to, length(to)));
  }
  for (Position position = begin; position < last; ++position) hold(seqs_[to], seqs_[from].cells[position]);
}

void FakeEngine::remove(const MemoryOperation& operation) {
  const auto& [kind, from, to, begin, end, piece] = operation;
  if (!is_seq(from)) return violate(fmt::format("removal from sequence {}", from));
  if (incomplete_.count(from) > 0 && begin >= length(from)) return;
  if (begin < 0 || begin > length(from)) {
    return violate(fmt::format("removal from {} on in sequence {}, which holds {}", begin, from, length(from)));
  }
  if (end >= 0 && end < length(from)) return violate(fmt::format("removal leaves a gap in sequence {}", from));
  if (limits_.memory == MemoryKind::kWhole && begin > 0) return violate("removal of a part");
  while (length(from) > begin) release_last(seqs_[from]);
}

DecodeStatus FakeEngine::decode(std::span<const Row> rows) {
  outputs_.clear();
  if (!violation_.empty()) return DecodeStatus::kFailed;
  if (fail_next_) return *std::exchange(fail_next_, std::nullopt);
  if (rows.empty() || static_cast<int>(rows.size()) > limits_.step_tokens_max) {
    violate(fmt::format("a step of {} rows", rows.size()));
    return DecodeStatus::kFailed;
  }
  if (rows.size() > free_.size()) return DecodeStatus::kNoRoom;
  for (const Row& row : rows) {
    if (!is_seq(row.seq) || row.position != length(row.seq)) {
      violate(fmt::format("row at position {} of sequence {}, which holds {}", row.position, row.seq,
                          is_seq(row.seq) ? length(row.seq) : -1));
      return DecodeStatus::kFailed;
    }
    const int cell = free_.back();
    free_.pop_back();
    cells_[cell] = {.token = row.token, .position = row.position, .holders = 0};
    hold(seqs_[row.seq], cell);
    // The rows of a sequence are in order of positions, so this row sees exactly the cells held so far.
    if (row.output) outputs_.push_back(token_of(seqs_[row.seq].sum, vocabulary_));
  }
  rows_computed_ += static_cast<std::int64_t>(rows.size());
  return DecodeStatus::kDone;
}

void FakeEngine::hold(Held& held, int cell) {
  held.cells.push_back(cell);
  held.sum += cell_hash(cells_[cell].position, cells_[cell].token);
  ++cells_[cell].holders;
}

void FakeEngine::release_last(Held& held) {
  const int cell = held.cells.back();
  held.cells.pop_back();
  held.sum -= cell_hash(cells_[cell].position, cells_[cell].token);
  if (--cells_[cell].holders == 0) free_.push_back(cell);
}

void FakeEngine::violate(std::string what) {
  if (violation_.empty()) violation_ = std::move(what);
}

void AloneAnswer::push(Token token) {
  sum_ += cell_hash(position_++, token);
}

Token AloneAnswer::next() const {
  return token_of(sum_, vocabulary_);
}

}  // namespace drover
