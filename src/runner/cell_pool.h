// The cells of the KV cache and the engine's sequences (SeqId) that hold them: which are running, which are kept after
// their request ended, and which are dropped first when room is needed. Turns each change into MemoryOperations that
// bring the engine's memory to the same state. Pure; the scheduler's thread owns it.
//
// The cells of a sequence that ended are kept until its SeqId or cells are needed. Then the least recently used
// sequence is dropped first, beginning with the tail that it alone holds; cells that several sequences share are
// dropped with the last of them. Attention cost grows with every occupied cell. A kept prefix is therefore moved to
// plain memory once keeping it has cost as much as moving it would, and restored when a prompt begins with it.
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
    int length = 0;  // including saved cells
  };
  struct Taken {
    SeqId seq = kNoSeq;
    int length = 0;  // leading tokens that its cells hold
  };

  // When room is needed, cells are dropped in this order.
  enum class Keep {
    kBriefly,   // not likely to be used again
    kNormally,  // left by a request that ended
    kForOwner,  // a preempted sequence will continue with it
  };

  explicit CellPool(const EngineLimits& limits);

  // The leading tokens that the cache has for a new sequence. Never all of them: the last token has to be computed, for
  // its logits.
  Prefix find(std::span<const Token> tokens) const;
  // Gives a new running sequence a SeqId that holds `prefix`, the result of find(). It holds less if there is no room
  // to restore the saved cells. At least one SeqId must not be running.
  Taken take(const Prefix& prefix, std::span<const Token> tokens, std::vector<MemoryOperation>& operations);
  // Saved cells could not be restored: empties the sequences that were taken since the last settle(), and drops the
  // pieces that were to be restored into them.
  void undo_taken(std::vector<MemoryOperation>& operations);
  // The operations were applied.
  void settle();
  bool was_taken(SeqId seq) const { return std::find(taken_.begin(), taken_.end(), seq) != taken_.end(); }
  // A step computed these tokens, which follow the tokens that the sequence held.
  void extend(SeqId seq, std::span<const Token> tokens);
  // A running sequence stops; its cells are kept. `owner` (not 0) names them for disown().
  void release(SeqId seq, Keep keep, std::uint64_t owner);
  // Cells that are kept for this owner are from now on kept normally.
  void disown(std::uint64_t owner);
  // Drops kept cells until `cells` cells are free. Running sequences must leave that many.
  void make_room(int cells, std::vector<MemoryOperation>& operations);
  // Moves some kept cells to plain memory, in a step that computes `rows` rows.
  void save_kept(int rows, std::vector<MemoryOperation>& operations);

  int cells() const { return limits_.cells; }
  int used() const { return tree_.used(); }                   // held by running sequences
  int shared() const { return tree_.shared(); }               // of those: held by more than one
  int kept() const { return tree_.cells() - tree_.used(); }   // held by no running sequence
  int free() const { return limits_.cells - tree_.cells(); }  // held by no sequence
  int saved() const { return archive_.cells(); }              // in plain memory

 private:
  struct Kept {
    Keep keep = Keep::kNormally;
    std::uint64_t owner = 0;
    std::uint64_t since = 0;  // counts releases
    std::int64_t rows = 0;    // computed before the release
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
  std::vector<Kept> kept_;  // by SeqId; valid for sequences that are neither empty nor running
  std::uint64_t releases_ = 0;
  std::int64_t rows_ = 0;
  std::vector<SeqId> taken_;     // since the last settle()
  std::vector<Piece> restored_;  // into the taken sequences
  std::vector<Piece> gone_;      // dropped from the archive
};

}  // namespace drover
