// The model as the scheduler sees it: memory of cells, and steps over rows of tokens. Implemented by LlamaEngine and,
// for tests, by FakeEngine. The engine thread calls it, nobody else.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace drover {

using Token = std::int32_t;
using Position = std::int32_t;
// An engine sequence: an index below Engine::Limits::sequences_max. Cells belong to one or more of them.
using SeqId = std::int32_t;
// The name of something that was saved, given by the caller.
using Piece = std::uint64_t;

// Whether the cells of a prefix can be shared between sequences and removed in part.
enum class MemoryKind {
  kShared,  // attention: any prefix can be shared and any tail removed
  kWhole,   // recurrent, hybrid, sliding window: only a whole sequence can be removed, nothing is shared
};

struct EngineLimits {
  MemoryKind memory = MemoryKind::kShared;
  int cells = 0;            // size of the one KV pool
  int saved_cells = 0;      // how many can be saved outside of it at a time; 0: it cannot save any
  int seqs = 0;            // engine sequences there are
  int step_tokens_max = 0;  // rows in one step
};

// One change of memory, applied before a step, in order. To restore takes free cells for all that was saved as the
// piece, even for a part of it.
struct MemoryOperation {
  enum class Kind {
    kCopy,     // positions [begin, end) of `from` are shared with `to`
    kRemove,   // `from` loses them
    kSave,     // they are saved as `piece`, and stay
    kRestore,  // `to`, which ends at `begin`, gets them from `piece`, in cells of its own
    kForget,   // what was saved as `piece` is dropped
  } kind;
  SeqId from = 0;
  SeqId to = 0;
  Position begin = 0;
  Position end = -1;  // kCopy, kRemove: -1 is to the end
  Piece piece = 0;
  friend bool operator==(const MemoryOperation&, const MemoryOperation&) = default;
};

// One token of a step.
struct Row {
  Token token = 0;
  Position position = 0;
  SeqId seq = 0;
  bool output = false;  // logits are wanted for it
  friend bool operator==(const Row&, const Row&) = default;
};

enum class DecodeStatus {
  kDone,
  kNoRoom,   // the cells did not suffice; memory is as before the step
  kAborted,  // stopped by request_abort(); memory is as before the step
  kFailed,   // the step cannot be computed; memory is as before the step
  kLost,     // apply() could not restore something: nothing was computed
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual EngineLimits limits() const = 0;
  // False: something could not be restored. That sequence lacks it, as do those that copied it; all else was done.
  virtual bool apply(std::span<const MemoryOperation> operations) = 0;
  // Computes the rows and keeps their cells. At most limits().step_tokens_max rows; positions of a sequence continue what
  // it holds.
  virtual DecodeStatus decode(std::span<const Row> rows) = 0;
};

}  // namespace drover
