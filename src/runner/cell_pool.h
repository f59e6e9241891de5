// The KV cache's cells and slots: who holds them, what is kept of sequences that ended, and what goes first when room
// is needed. Turns each change into the MemoryOperations that bring the engine's memory to the same state. Pure; the
// scheduler's thread owns it.
//
// Sequences that ended stay in their slots until a slot or cells are needed. Then the least recently used goes first,
// and of each the tail that it alone holds: what several share goes last, with the last of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "runner/prefix_tree.h"

namespace drover {

class CellPool {
 public:
  using Prefix = PrefixTree::Match;

  // What goes first when room is needed.
  enum class Keep {
    kBriefly,   // nobody is likely to ask for it again
    kNormally,  //
    kForOwner,  // a parked sequence will continue it
  };

  explicit CellPool(const EngineLimits& limits);

  // What a new sequence with these tokens can take from the cache. Never all of them: the last token has to be
  // computed, for its logits.
  Prefix find(std::span<const Token> tokens) const;
  // Gives a sequence a slot that holds the prefix, which find() has just returned. Fewer than all slots may be running.
  Slot take(const Prefix& prefix, std::vector<MemoryOperation>& operations);
  // A step computed these tokens after those that the slot held.
  void extend(Slot slot, std::span<const Token> tokens);
  // A running sequence leaves its slot. `owner` (not 0) names it for disown().
  void release(Slot slot, Keep keep, std::uint64_t owner);
  // What is kept for this owner is from now on kept normally.
  void disown(std::uint64_t owner);
  // Drops what is kept until `cells` cells are free; running sequences must leave so many.
  void make_room(int cells, std::vector<MemoryOperation>& operations);

  int cells() const { return limits_.cells; }
  int used() const { return tree_.used(); }                   // held by running sequences
  int shared() const { return tree_.shared(); }               // of those: held by more than one
  int kept() const { return tree_.cells() - tree_.used(); }   // held by none that runs
  int free() const { return limits_.cells - tree_.cells(); }  // held by nobody

 private:
  struct Kept {
    Keep keep = Keep::kNormally;
    std::uint64_t owner = 0;
    std::uint64_t since = 0;  // counts releases
  };

  Slot free_slot() const;
  Slot victim() const;
  void drop(Slot slot, std::vector<MemoryOperation>& operations);

  EngineLimits limits_;
  PrefixTree tree_;
  std::vector<Kept> kept_;  // by slot; for slots that are neither empty nor running
  std::uint64_t releases_ = 0;
};

}  // namespace drover
