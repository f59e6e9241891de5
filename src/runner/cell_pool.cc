#include "runner/cell_pool.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace drover {
namespace {

// The engine looks at every cell to remove some, so a tail is not shortened by less than this.
constexpr int kShortenMin = 64;
// Fewer tokens are computed anew as quickly as they are saved and restored.
constexpr int kPieceMin = 16;
// To restore a part of a piece takes room for all of it; and nobody is to wait long for what is saved in a step.
constexpr int kPieceMax = 512;
// To move a few cells takes as long as to move some more: what holds less may stay, while there are no more in all.
constexpr int kMovedMin = 64;
constexpr int kKeptMax = 512;
// Moving a cell out and back takes about as long as looking past it for so many rows.
constexpr int kRowsBeforeSaved = 64;

using Operations = std::vector<MemoryOperation>;

MemoryOperation removal(Slot slot, Position begin) {
  return {.kind = MemoryOperation::Kind::kRemove, .from = slot, .begin = begin, .end = -1};
}

}  // namespace

CellPool::CellPool(const EngineLimits& limits)
    : limits_(limits), tree_(limits.slots), archive_(limits.saved_cells), kept_(limits.slots) {
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
  const Slot slot = open(prefix.in_cells, operations);
  taken_.push_back(slot);
  int length = prefix.in_cells.length;
  if (prefix.length > length) length = restore(slot, length, tokens.first(prefix.length), operations);
  return {.slot = slot, .length = length};
}

// Gives the slot, which holds what comes before `begin`, the rest of the tokens, as far as there is room. Returns what
// it holds then.
int CellPool::restore(Slot slot, int begin, std::span<const Token> tokens, Operations& operations) {
  for (const PrefixArchive::Part& part : archive_.use(tokens)) {
    if (part.end <= begin) continue;
    if (cells() - used() < part.whole) break;
    make_room(part.whole, operations);
    if (!archive_.has(part.piece)) break;  // it had to go for what was saved to make room
    operations.push_back(
        {.kind = MemoryOperation::Kind::kRestore, .to = slot, .begin = begin, .end = part.end, .piece = part.piece});
    tree_.append(slot, tokens.subspan(begin, part.end - begin));
    restored_.push_back(part.piece);
    begin = part.end;
  }
  return begin;
}

void CellPool::undo_taken(Operations& operations) {
  for (const Slot slot : taken_) {
    if (!tree_.is_empty(slot)) drop(slot, operations);
  }
  for (const Piece piece : restored_) archive_.erase(piece, gone_);
  forget(operations);
  settle();
}

void CellPool::settle() {
  taken_.clear();
  restored_.clear();
}

// A slot that holds what matches.
Slot CellPool::open(const PrefixTree::Match& prefix, Operations& operations) {
  if (prefix.whole) {
    tree_.set_running(prefix.holder, true);
    return prefix.holder;
  }
  Slot slot = free_slot();
  if (slot == kNoSlot) {
    slot = victim();
    DROVER_CHECK(slot != kNoSlot);
    save(slot, operations);
    if (slot == prefix.holder) {
      operations.push_back(removal(slot, prefix.length));
      tree_.truncate(slot, prefix.length);
      tree_.set_running(slot, true);
      return slot;
    }
    drop(slot, operations);
  }
  if (prefix.length > 0) {
    operations.push_back(
        {.kind = MemoryOperation::Kind::kCopy, .from = prefix.holder, .to = slot, .begin = 0, .end = prefix.length});
  }
  tree_.open(slot, prefix.holder, prefix.length);
  return slot;
}

void CellPool::extend(Slot slot, std::span<const Token> tokens) {
  tree_.append(slot, tokens);
}

void CellPool::release(Slot slot, Keep keep, std::uint64_t owner) {
  if (tree_.length(slot) == 0) {
    tree_.close(slot);
    return;
  }
  tree_.set_running(slot, false);
  kept_[slot] = {.keep = keep, .owner = owner, .since = ++releases_, .rows = rows_};
}

void CellPool::disown(std::uint64_t owner) {
  for (Kept& kept : kept_) {
    if (kept.owner == owner && kept.keep == Keep::kForOwner) kept.keep = Keep::kNormally;
  }
}

void CellPool::make_room(int cells, Operations& operations) {
  while (free() < cells) {
    const Slot slot = victim();
    DROVER_CHECK(slot != kNoSlot);
    save(slot, operations);
    const int cut = std::max(cells - free(), kShortenMin);
    if (limits_.memory == MemoryKind::kWhole || cut >= tree_.own_cells(slot)) {
      drop(slot, operations);
    } else {
      const int length = tree_.length(slot) - cut;
      operations.push_back(removal(slot, length));
      tree_.truncate(slot, length);
    }
  }
}

void CellPool::save_kept(int rows, Operations& operations) {
  rows_ += rows;
  if (limits_.saved_cells == 0) return;
  for (int left = kPieceMax; left >= kPieceMin && kept() > 0;) {
    const Slot slot = victim();
    if (rows_ - kept_[slot].rows < kRowsBeforeSaved) return;
    if (tree_.own_cells(slot) < kMovedMin && kept() <= kKeptMax) return;
    const int saved = save_some(slot, left, operations);
    if (saved == 0) drop(slot, operations);
    left -= saved;
  }
}

// Saves what the slot holds, but for the last few cells.
void CellPool::save(Slot slot, Operations& operations) {
  while (save_some(slot, kPieceMax, operations) > 0) continue;
}

// Returns how many cells it has saved, 0 if no more are worth it.
int CellPool::save_some(Slot slot, int most, Operations& operations) {
  if (limits_.saved_cells == 0 || kept_[slot].keep == Keep::kBriefly || was_taken(slot)) return 0;
  const std::vector<Token> tokens = tree_.tokens(slot);
  const int begin = archive_.length(tokens);
  const int rest = static_cast<int>(tokens.size()) - begin;
  if (rest < kPieceMin) return 0;
  const auto part = archive_.add(std::span(tokens).first(begin + std::min(rest, most)), gone_);
  forget(operations);
  if (!part) return 0;
  operations.push_back({.kind = MemoryOperation::Kind::kSave,
                        .from = slot,
                        .begin = part->begin,
                        .end = part->end,
                        .piece = part->piece});
  return part->whole;
}

void CellPool::forget(Operations& operations) {
  for (const Piece piece : gone_) operations.push_back({.kind = MemoryOperation::Kind::kForget, .piece = piece});
  gone_.clear();
}

Slot CellPool::free_slot() const {
  for (Slot slot = 0; slot < tree_.slots(); ++slot) {
    if (tree_.is_empty(slot)) return slot;
  }
  return kNoSlot;
}

// The kept branch that goes first.
Slot CellPool::victim() const {
  Slot first = kNoSlot;
  const auto rank = [this](Slot slot) { return std::tuple(kept_[slot].keep, kept_[slot].since); };
  for (Slot slot = 0; slot < tree_.slots(); ++slot) {
    if (tree_.is_empty(slot) || tree_.is_running(slot)) continue;
    if (first == kNoSlot || rank(slot) < rank(first)) first = slot;
  }
  return first;
}

void CellPool::drop(Slot slot, Operations& operations) {
  operations.push_back(removal(slot, 0));
  tree_.close(slot);
}

}  // namespace drover
