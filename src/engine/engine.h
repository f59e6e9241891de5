// The scheduler's view of a model: a memory of KV cells, and steps over rows of tokens. Implemented by LlamaEngine and,
// for tests, by FakeEngine. Only the engine thread calls it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace drover {

using Token = std::int32_t;
using Position = std::int32_t;
// A sequence of the engine (llama.cpp's llama_seq_id), below EngineLimits::seqs. Each occupied cell belongs to one or
// more.
using SeqId = std::int32_t;
// The name of a saved run of cells, chosen by the caller.
using Piece = std::uint64_t;

// Whether the cells of a prefix can be shared between sequences and removed in part.
enum class MemoryKind {
  kShared,  // attention: any prefix can be shared and any tail removed
  kWhole,   // recurrent, hybrid, sliding window: only a whole sequence can be removed, nothing is shared
};

struct EngineLimits {
  MemoryKind memory = MemoryKind::kShared;
  int cells = 0;            // cells of the KV pool
  int saved_cells = 0;      // cells that can be saved outside the pool; 0: none
  int seqs = 0;             // number of SeqIds
  int step_tokens_max = 0;  // rows in one step
};

// One change of memory. Changes are applied in order, before a step. A restore takes free cells for the whole piece,
// even if it restores only a part of it.
struct MemoryOperation {
  enum class Kind {
    kCopy,     // positions [begin, end) of `from` are shared with `to`
    kRemove,   // `from` loses positions [begin, end)
    kSave,     // positions [begin, end) of `from` are saved as `piece`; the cells stay
    kRestore,  // `to`, whose length is `begin`, gets [begin, end) from `piece`, in cells of its own
    kForget,   // `piece` is dropped
  } kind;
  SeqId from = 0;
  SeqId to = 0;
  Position begin = 0;
  Position end = -1;  // kCopy, kRemove: -1: to the end
  Piece piece = 0;
  friend bool operator==(const MemoryOperation&, const MemoryOperation&) = default;
};

// One token of a step.
struct Row {
  Token token = 0;
  Position position = 0;
  SeqId seq = 0;
  bool output = false;  // its logits are needed
  friend bool operator==(const Row&, const Row&) = default;
};

enum class DecodeStatus {
  kDone,
  kNoRoom,   // there were not enough cells; memory is as before the step
  kAborted,  // stopped by request_abort(); memory is as before the step
  kFailed,   // the step cannot be computed; memory is as before the step
  kLost,     // apply() could not restore a piece: nothing was computed
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual EngineLimits limits() const = 0;
  // False: a piece could not be restored. Its sequence lacks those cells, as do sequences that copied them. All other
  // operations were done.
  virtual bool apply(std::span<const MemoryOperation> operations) = 0;
  // Computes the rows and keeps their cells. At most limits().step_tokens_max rows. The positions of a sequence
  // continue those that it holds.
  virtual DecodeStatus decode(std::span<const Row> rows) = 0;
};

}  // namespace drover
