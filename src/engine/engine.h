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
using Slot = std::int32_t;

// Whether the cells of a prefix can be shared between sequences and removed in part.
enum class MemoryKind {
  kShared,  // attention: any prefix can be shared and any tail removed
  kWhole,   // recurrent, hybrid, sliding window: only a whole sequence can be removed, nothing is shared
};

struct EngineLimits {
  MemoryKind memory = MemoryKind::kShared;
  int cells = 0;            // size of the one KV pool
  int slots = 0;            // engine sequences there are
  int step_tokens_max = 0;  // rows in one step
};

// One change of memory, applied before a step, in order.
struct MemoryOperation {
  enum class Kind { kCopy, kRemove } kind;
  Slot from = 0;  // kCopy: its positions [begin, end) are shared with `to`; kRemove: the slot that loses them
  Slot to = 0;    // kCopy only
  Position begin = 0;
  Position end = -1;  // -1: to the end
  friend bool operator==(const MemoryOperation&, const MemoryOperation&) = default;
};

// One token of a step.
struct Row {
  Token token = 0;
  Position position = 0;
  Slot slot = 0;
  bool output = false;  // logits are wanted for it
  friend bool operator==(const Row&, const Row&) = default;
};

enum class DecodeStatus {
  kDone,
  kNoRoom,   // the cells did not suffice; memory is as before the step
  kAborted,  // stopped by request_abort(); memory is as before the step
  kFailed,   // the step cannot be computed; memory is as before the step
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual EngineLimits limits() const = 0;
  virtual void apply(std::span<const MemoryOperation> operations) = 0;
  // Computes the rows and keeps their cells. At most limits().step_tokens_max rows; positions of a slot continue what
  // it holds.
  virtual DecodeStatus decode(std::span<const Row> rows) = 0;
};

}  // namespace drover
