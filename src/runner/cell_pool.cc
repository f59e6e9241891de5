#include "runner/cell_pool.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace drover {
namespace {

// A removal makes the engine scan all cells, so a tail is shortened by at least this many.
constexpr int kShortenMin = 64;
// Recomputing fewer tokens is as fast as saving and restoring them.
constexpr int kPieceMin = 16;
// Restoring a part of a piece takes room for all of it, and saving cells lengthens the step.
constexpr int kPieceMax = 512;
// Moves have a fixed cost, so prefixes smaller than kMovedMin stay in the cache while the total kept is at most
// kKeptMax.
constexpr int kMovedMin = 64;
constexpr int kKeptMax = 512;
// Moving a cell out and back costs about as much as attending to it for this many rows.
constexpr int kRowsBeforeSaved = 64;

using Operations = std::vector<MemoryOperation>;

MemoryOperation removal(SeqId seq, Position begin) {
  return {.kind = MemoryOperation::Kind::kRemove, .from = seq, .begin = begin, .end = -1};
}

}  // namespace

CellPool::CellPool(const EngineLimits& limits)
    : limits_(limits), tree_(limits.seqs), archive_(limits.saved_cells), kept_(limits.seqs) {
  DROVER_CHECK(limits.saved_cells == 0 || limits.memory == MemoryKind::kShared);
}

CellPool::Prefix CellPool::find(std::span<const Token> tokens) const {
  tokens = tokens.first(tokens.size() - 1);
  Prefix prefix;
  prefix.in_cells = limits_.memory == MemoryKind::kShared ? tree_.longest(tokens) : tree_.longest_whole(tokens);
  prefix.length = prefix.in_cells.length;
  if (const int saved = archive_.length(tokens); saved >= prefix.length + kPieceMin) prefix.length = saved;
  return prefix;
}

CellPool::Taken CellPool::take(const Prefix& prefix, std::span<const Token> tokens, Operations& operations) {
  const SeqId seq = open(prefix.in_cells, operations);
  taken_.push_back(seq);
  int length = prefix.in_cells.length;
  if (prefix.length > length) length = restore(seq, length, tokens.first(prefix.length), operations);
  return {.seq = seq, .length = length};
}

// Restores tokens from `begin` on into a sequence that holds those before, as far as there is room. Returns the new
// length.
int CellPool::restore(SeqId seq, int begin, std::span<const Token> tokens, Operations& operations) {
  for (const PrefixArchive::Part& part : archive_.use(tokens)) {
    if (part.end <= begin) continue;
    if (cells() - used() < part.whole) break;
    make_room(part.whole, operations);
    if (!archive_.has(part.piece)) break;  // it was dropped from the archive when make_room() saved other cells
    operations.push_back(
        {.kind = MemoryOperation::Kind::kRestore, .to = seq, .begin = begin, .end = part.end, .piece = part.piece});
    tree_.append(seq, tokens.subspan(begin, part.end - begin));
    restored_.push_back(part.piece);
    begin = part.end;
  }
  return begin;
}

void CellPool::undo_taken(Operations& operations) {
  for (const SeqId seq : taken_) {
    if (!tree_.is_empty(seq)) drop(seq, operations);
  }
  for (const Piece piece : restored_) archive_.erase(piece, gone_);
  forget(operations);
  settle();
}

void CellPool::settle() {
  taken_.clear();
  restored_.clear();
}

// A sequence that holds the matching cells.
SeqId CellPool::open(const PrefixTree::Match& prefix, Operations& operations) {
  if (prefix.whole) {
    tree_.set_running(prefix.holder, true);
    return prefix.holder;
  }
  SeqId seq = free_seq();
  if (seq == kNoSeq) {
    seq = victim();
    DROVER_CHECK(seq != kNoSeq);
    save(seq, operations);
    if (seq == prefix.holder) {
      operations.push_back(removal(seq, prefix.length));
      tree_.truncate(seq, prefix.length);
      tree_.set_running(seq, true);
      return seq;
    }
    drop(seq, operations);
  }
  if (prefix.length > 0) {
    operations.push_back(
        {.kind = MemoryOperation::Kind::kCopy, .from = prefix.holder, .to = seq, .begin = 0, .end = prefix.length});
  }
  tree_.open(seq, prefix.holder, prefix.length);
  return seq;
}

void CellPool::extend(SeqId seq, std::span<const Token> tokens) {
  tree_.append(seq, tokens);
}

void CellPool::release(SeqId seq, Keep keep, std::uint64_t owner) {
  if (tree_.length(seq) == 0) {
    tree_.close(seq);
    return;
  }
  tree_.set_running(seq, false);
  kept_[seq] = {.keep = keep, .owner = owner, .since = ++releases_, .rows = rows_};
}

void CellPool::disown(std::uint64_t owner) {
  for (Kept& kept : kept_) {
    if (kept.owner == owner && kept.keep == Keep::kForOwner) kept.keep = Keep::kNormally;
  }
}

void CellPool::make_room(int cells, Operations& operations) {
  while (free() < cells) {
    const SeqId seq = victim();
    DROVER_CHECK(seq != kNoSeq);
    save(seq, operations);
    const int cut = std::max(cells - free(), kShortenMin);
    if (limits_.memory == MemoryKind::kWhole || cut >= tree_.own_cells(seq)) {
      drop(seq, operations);
    } else {
      const int length = tree_.length(seq) - cut;
      operations.push_back(removal(seq, length));
      tree_.truncate(seq, length);
    }
  }
}

void CellPool::save_kept(int rows, Operations& operations) {
  rows_ += rows;
  if (limits_.saved_cells == 0) return;
  for (int left = kPieceMax; left >= kPieceMin && kept() > 0;) {
    const SeqId seq = victim();
    if (rows_ - kept_[seq].rows < kRowsBeforeSaved) return;
    if (tree_.own_cells(seq) < kMovedMin && kept() <= kKeptMax) return;
    const int saved = save_some(seq, left, operations);
    if (saved == 0) drop(seq, operations);
    left -= saved;
  }
}

// Saves the cells of a sequence, except the last few.
void CellPool::save(SeqId seq, Operations& operations) {
  while (save_some(seq, kPieceMax, operations) > 0) continue;
}

// Returns the number of saved cells; 0 if saving more does not pay.
int CellPool::save_some(SeqId seq, int most, Operations& operations) {
  if (limits_.saved_cells == 0 || kept_[seq].keep == Keep::kBriefly || was_taken(seq)) return 0;
  const std::vector<Token> tokens = tree_.tokens(seq);
  const int begin = archive_.length(tokens);
  const int rest = static_cast<int>(tokens.size()) - begin;
  if (rest < kPieceMin) return 0;
  const auto part = archive_.add(std::span(tokens).first(begin + std::min(rest, most)), gone_);
  forget(operations);
  if (!part) return 0;
  operations.push_back({.kind = MemoryOperation::Kind::kSave,
                        .from = seq,
                        .begin = part->begin,
                        .end = part->end,
                        .piece = part->piece});
  return part->whole;
}

void CellPool::forget(Operations& operations) {
  for (const Piece piece : gone_) operations.push_back({.kind = MemoryOperation::Kind::kForget, .piece = piece});
  gone_.clear();
}

SeqId CellPool::free_seq() const {
  for (SeqId seq = 0; seq < tree_.seqs(); ++seq) {
    if (tree_.is_empty(seq)) return seq;
  }
  return kNoSeq;
}

// The kept sequence that is dropped first.
SeqId CellPool::victim() const {
  SeqId first = kNoSeq;
  const auto rank = [this](SeqId seq) { return std::tuple(kept_[seq].keep, kept_[seq].since); };
  for (SeqId seq = 0; seq < tree_.seqs(); ++seq) {
    if (tree_.is_empty(seq) || tree_.is_running(seq)) continue;
    if (first == kNoSeq || rank(seq) < rank(first)) first = seq;
  }
  return first;
}

void CellPool::drop(SeqId seq, Operations& operations) {
  operations.push_back(removal(seq, 0));
  tree_.close(seq);
}

}  // namespace drover
