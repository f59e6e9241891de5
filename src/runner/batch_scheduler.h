// Which tokens of which sequences the next step computes. Pure: no threads, no clock, no I/O, no model. The runner's
// engine thread owns it.
//
// A sequence has tokens and a number of them that are computed; each step lets the second catch up with the first.
// There is no separate prefill phase. Each step first takes one token of every generating sequence, then prompt tokens
// up to the step's budget. Prefixes that are in the cache, of running or of finished sequences, are shared and not
// computed again. The cache is one pool: when it is full, kept prefixes are saved or dropped first (least recently
// used), then the newest sequence is parked and resumed later. No sequence fails because of another one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "engine/engine.h"

namespace drover {

struct SchedulerConfig {
  EngineLimits engine;
  int places = 1;  // sequences that may be added at a time
  Duration gap_target =
      std::chrono::milliseconds(100);  // aim for the time between two tokens of a stream, while prompts are computed
  bool gap_target_adapts = true;       // gap_target is a floor; see StepBudget
  int shared_wait_steps_max = 64;      // how long a sequence waits for a prefix that another is computing
};

// One token more for each generating sequence, and parts of prompts. Between them the requests of output_of and
// prompts_of are all that have rows.
struct Step {
  std::vector<MemoryOperation> operations;  // to apply before the rows
  std::vector<Row> rows;                    // each sequence's in a piece; sequences in order of their slots
  std::vector<RequestId> output_of;         // for each row with output, in row order: whose it is
  std::vector<RequestId> prompts_of;        // those that had more than one token left: part of it is computed, or all
  bool empty() const { return rows.empty() && operations.empty(); }
};

// What sampling made of a row with output.
struct Sampled {
  RequestId request;
  Token token = 0;
  bool end = false;  // the sequence ends here and `token` is not part of it: it is taken out as by remove()
};

struct SequenceStats {
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt, found in the cache when it was first scheduled, or waited for
  int parked = 0;         // how often it was parked
};

struct SchedulerView {
  int running = 0;       // sequences that hold a slot; the others wait for room or for a prefix
  int cells_used = 0;    // held by running sequences
  int cells_shared = 0;  // of those: held by more than one running sequence
  int cells_kept = 0;    // held only by kept prefixes
  int cells_saved = 0;   // in plain memory
  int parked = 0;        // sequences that are parked now
  int step_budget = 0;   // prompt tokens that the next step may hold while a stream has a pace; 0 in a step to measure
};

class BatchScheduler {
 public:
  // places <= engine.slots and places <= engine.step_tokens_max.
  explicit BatchScheduler(SchedulerConfig config);
  ~BatchScheduler();

  // Before anything is added: how many rows a step should have that the engine computes only to measure it; 0: none any
  // more. What it took is told to observe_calibration(). If the engine cannot compute it, calibration is over.
  int calibration_rows() const;
  void observe_calibration(int rows, Duration took);

  // Takes a sequence in. 1 <= prompt.size() < engine.cells, and fewer than `places` sequences are in.
  void add(RequestId request, std::vector<Token> prompt, TimePoint now);
  // Takes a sequence out, in any phase, between steps; what is computed of it stays as a kept prefix. Unknown: ignored.
  void remove(RequestId request, TimePoint now);
  // Replaces a sequence's tokens (context shift): what the cache has of the new ones is used, the rest is computed.
  // 1 <= tokens.size() < engine.cells. A sequence that has more than engine.cells tokens must be replaced or taken out
  // before the next plan().
  void replace(RequestId request, std::vector<Token> tokens, TimePoint now);

  // The next step; valid until the next call of plan(). It has rows if there are sequences, and is empty if there are
  // none. Each plan() that is not empty is answered by exactly one commit() or abandon(), before anything else is
  // called but tokens(), stats() and view().
  const Step& plan(TimePoint now);
  // The step was computed: `sampled` has one entry for each row with output, in order. `took` is the step's time.
  void commit(std::span<const Sampled> sampled, Duration took, TimePoint now);
  // The step's rows were not computed (its operations were applied). kNoRoom: the next plan makes room first, more each
  // time, down to a step of one row for the oldest sequence alone. kLost: those that were to get what was saved are
  // computed instead.
  void abandon(DecodeStatus why, TimePoint now);

  // Tokens of a sequence so far: prompt and output. Valid until the next call that changes something. A sequence that
  // commit() took out can be asked for until the next plan(). Unknown: nothing.
  std::span<const Token> tokens(RequestId request) const;
  SequenceStats stats(RequestId request) const;
  SchedulerView view() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace drover
