#include "runner/cell_pool.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace drover {
namespace {

// The engine looks at every cell to remove some, so a tail is not shortened by less than this.
constexpr int kShortenMin = 64;

using Operations = std::vector<MemoryOperation>;

MemoryOperation removal(Slot slot, Position begin) {
  return {.kind = MemoryOperation::Kind::kRemove, .from = slot, .to = 0, .begin = begin, .end = -1};
}

}  // namespace

CellPool::CellPool(const EngineLimits& limits) : limits_(limits), tree_(limits.slots), kept_(limits.slots) {}

CellPool::Prefix CellPool::find(std::span<const Token> tokens) const {
  tokens = tokens.first(tokens.size() - 1);
  return limits_.memory == MemoryKind::kShared ? tree_.longest(tokens) : tree_.longest_whole(tokens);
}

Slot CellPool::take(const Prefix& prefix, Operations& operations) {
  if (prefix.whole) {
    tree_.set_running(prefix.holder, true);
    return prefix.holder;
  }
  Slot slot = free_slot();
  if (slot == kNoSlot) {
    slot = victim();
    DROVER_CHECK(slot != kNoSlot);
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
  kept_[slot] = {.keep = keep, .owner = owner, .since = ++releases_};
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
