// The KV cache's cells and sequences: who holds them, what is kept of sequences that ended, and what goes first when room
// is needed. Turns each change into the MemoryOperations that bring the engine's memory to the same state. Pure; the
// scheduler's thread owns it.
//
// Sequences that ended stay in their sequences until a sequence or cells are needed. Then the least recently used goes first,
// and of each the tail that it alone holds: what several share goes last, with the last of them. Attention looks at
// each cell that is held, for each row that is computed; so while others go on, what has been looked past for as many
// rows as moving it would take is moved out of the cache, into plain memory, and back when somebody asks for it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "runner/prefix_archive.h"
#include "runner/prefix_tree.h"

namespace drover {

class CellPool {
 public:
  struct Prefix {
    PrefixTree::Match in_cells;
    int length = 0;  // with what is saved
  };
  struct Taken {
    SeqId seq = kNoSeq;
    int length = 0;  // that the sequence holds
  };

  // What goes first when room is needed.
  enum class Keep {
    kBriefly,   // nobody is likely to ask for it again
    kNormally,  //
    kForOwner,  // a preempted sequence will continue it
  };

  explicit CellPool(const EngineLimits& limits);

  // What a new sequence with these tokens can take from the cache. Never all of them: the last token has to be
  // computed, for its logits.
  Prefix find(std::span<const Token> tokens) const;
  // Gives a sequence with these tokens a sequence that holds the prefix, which find() has just returned; less of it if the
  // cells do not suffice for what is saved. Fewer than all sequences may be running.
  Taken take(const Prefix& prefix, std::span<const Token> tokens, std::vector<MemoryOperation>& operations);
  // What was saved could not be restored: empties the sequences that were taken since the last settle(), and does not use
  // again what was restored into them.
  void undo_taken(std::vector<MemoryOperation>& operations);
  // The operations were applied.
  void settle();
  bool was_taken(SeqId seq) const { return std::find(taken_.begin(), taken_.end(), seq) != taken_.end(); }
  // A step computed these tokens after those that the sequence held.
  void extend(SeqId seq, std::span<const Token> tokens);
  // A running sequence leaves its sequence. `owner` (not 0) names it for disown().
  void release(SeqId seq, Keep keep, std::uint64_t owner);
  // What is kept for this owner is from now on kept normally.
  void disown(std::uint64_t owner);
  // Drops what is kept until `cells` cells are free; running sequences must leave so many.
  void make_room(int cells, std::vector<MemoryOperation>& operations);
  // Moves some of what is kept out of the cache, in a step that computes so many rows.
  void save_kept(int rows, std::vector<MemoryOperation>& operations);

  int cells() const { return limits_.cells; }
  int used() const { return tree_.used(); }                   // held by running sequences
  int shared() const { return tree_.shared(); }               // of those: held by more than one
  int kept() const { return tree_.cells() - tree_.used(); }   // held by none that runs
  int free() const { return limits_.cells - tree_.cells(); }  // held by nobody
  int saved() const { return archive_.cells(); }              // outside of the cache

 private:
  struct Kept {
    Keep keep = Keep::kNormally;
    std::uint64_t owner = 0;
    std::uint64_t since = 0;  // counts releases
    std::int64_t rows = 0;    // that had been computed by then
  };

  SeqId open(const PrefixTree::Match& match, std::vector<MemoryOperation>& operations);
  int restore(SeqId seq, int begin, std::span<const Token> tokens, std::vector<MemoryOperation>& operations);
  SeqId free_seq() const;
  SeqId victim() const;
  int save_some(SeqId seq, int most, std::vector<MemoryOperation>& operations);
  void save(SeqId seq, std::vector<MemoryOperation>& operations);
  void forget(std::vector<MemoryOperation>& operations);
  void drop(SeqId seq, std::vector<MemoryOperation>& operations);

  EngineLimits limits_;
  PrefixTree tree_;
  PrefixArchive archive_;
  std::vector<Kept> kept_;  // by sequence; for sequences that are neither empty nor running
  std::uint64_t releases_ = 0;
  std::int64_t rows_ = 0;
  std::vector<SeqId> taken_;      // since the last settle()
  std::vector<Piece> restored_;  // into them
  std::vector<Piece> gone_;      // from the archive
};

}  // namespace drover
