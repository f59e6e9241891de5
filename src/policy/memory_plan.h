// Which models come into memory and which leave it. Pure: one function from what is there to what to do.
//
// Models that want memory are served in the order in which they began to want it. Room is made by those that are idle,
// least recently used first, then by draining busy ones whose turn is over. A model that wants memory and has to wait
// for it keeps a claim on what it waits for: another one may pass it only with room that it does not need.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace drover {

// Memory and one of the loaded_models_max positions; signed, because more may be in use than was planned.
struct Room {
  std::int64_t bytes = 0;
  std::int64_t runners = 0;

  Room& operator+=(const Room& other) {
    bytes += other.bytes;
    runners += other.runners;
    return *this;
  }
  Room& operator-=(const Room& other) {
    bytes -= other.bytes;
    runners -= other.runners;
    return *this;
  }
  friend Room operator-(Room a, const Room& b) { return a -= b; }
  bool holds(const Room& other) const { return bytes >= other.bytes && runners >= other.runners; }
};

// What a runner's room is worth to others, best first.
enum class Standing {
  kLeaving,   // its room comes back whatever is decided
  kIdle,      // nothing waits for it and nothing runs
  kDraining,  // finishes what it runs and then leaves, unless nobody needs its room any more
  kBusy,
  kLoading,  // not before it is loaded and has had its turn
  kPinned,   // never
};

struct Resident {
  RunnerId runner;
  Room room;
  Standing standing = Standing::kBusy;
  TimePoint last_used;  // orders idle ones
  TimePoint loaded_at;  // start of a busy one's turn
};

struct Want {
  ModelId model;
  Room need;
  TimePoint since;       // when it began to want
  bool blocked = false;  // cannot start yet, but its claim holds: its old runner is still leaving
};

struct MemoryPlan {
  std::vector<ModelId> start;
  std::vector<RunnerId> evict;    // idle ones
  std::vector<RunnerId> drain;    // busy ones, and draining ones that go on draining
  std::vector<RunnerId> recover;  // draining ones that need not leave any more
  TimePoint due = kNever;         // when a turn that is waited for is over
};

// `total` is what all runners together may take. `wants` are in order of `since`, and each of them would fit if all
// but the pinned residents left.
MemoryPlan plan_memory(Room total, std::span<const Resident> residents, std::span<const Want> wants,
                       Duration residence_min, TimePoint now);

}  // namespace drover
