// Decides which tokens of which sequences the next step computes. Pure: no threads, no clock, no I/O, no model. The
// runner's engine thread owns it.
//
// A sequence has tokens, and the first `computed` of them are in the KV cache. Each step computes some of the others;
// there is no separate prefill phase. A step first takes one token of every generating sequence, then prompt tokens up
// to the step's budget. Prefixes that are in the cache, of running or of finished sequences, are shared and not
// computed again. All sequences share one pool of cells. When it is full, kept prefixes are saved or dropped first
// (least recently used), then the newest sequence is preempted and resumed later. No sequence fails because of another.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "engine/engine.h"
#include "runner/cell_pool.h"
#include "runner/slot_count.h"
#include "runner/step_budget.h"

namespace drover {

struct SchedulerConfig {
  EngineLimits engine;
  int slots = 1;      // parallel generations at first
  int slots_max = 1;  // more than `slots`: their number follows what is measured (SlotCount)
  Duration gap_target = std::chrono::milliseconds(100);  // inter-token time of a stream while prompts are computed
  bool gap_target_adapts = true;                         // gap_target is a floor; see StepBudget
  int shared_wait_steps_max = 64;  // steps without progress after which a sequence waits no longer for a leader
};

enum class SequenceState {
  kWaiting,    // for cells: it is new, or its tokens were replaced, or its leader left
  kFollowing,  // for its leader, a running sequence that computes a prefix that both have
  kRunning,    // it holds cells, and steps compute its tokens
  kPreempted,  // it gave its cells to older sequences and waits for cells
  kEnded,      // it is out; its tokens and stats can be asked for until the next plan()
};

// One more token for each generating sequence, and parts of prompts. output_of and prompts_of together name all
// requests that have rows.
struct Step {
  std::vector<MemoryOperation> operations;  // to apply before the rows
  std::vector<Row> rows;                    // the rows of a sequence are adjacent; ordered by SeqId
  std::vector<RequestId> output_of;         // the request of each row with output, in row order
  std::vector<RequestId> prompts_of;        // requests that had more than one token left to compute
  std::vector<RequestId> abort_for;  // if one of these is canceled while the step is computed, aborting the step pays
  bool empty() const { return rows.empty() && operations.empty(); }
};

// The result of sampling one row with output.
struct Sampled {
  RequestId request;
  Token token = 0;
  bool end = false;  // the sequence ends here and `token` is not part of it: it is taken out as by remove()
};

struct SequenceStats {
  SequenceState state = SequenceState::kEnded;
  int prompt_tokens = 0;
  int cached_tokens = 0;  // tokens of the prompt that came from the cache when the sequence first ran
  int preempted = 0;      // how often it was preempted
};

struct SchedulerView {
  int slots = 0;         // sequences that should be in at a time
  int running = 0;       // sequences that hold cells; the others wait for cells or for a prefix
  int preempted = 0;     // sequences that are preempted now
  int cells_used = 0;    // held by running sequences
  int cells_shared = 0;  // of those: held by more than one running sequence
  int cells_kept = 0;    // held only by kept prefixes
  int cells_saved = 0;   // in plain memory
  int step_budget = 0;   // prompt tokens that the next step may hold while a stream has a pace; 0 in a step to measure
};

class BatchScheduler {
 public:
  // 1 <= slots <= slots_max; slots_max <= engine.seqs and slots_max <= engine.step_tokens_max.
  explicit BatchScheduler(SchedulerConfig config);
  ~BatchScheduler();
  BatchScheduler(const BatchScheduler&) = delete;
  BatchScheduler& operator=(const BatchScheduler&) = delete;

  // Before the first add(): the number of rows of a step that the engine should compute only to measure it; 0: no more
  // such steps. observe_calibration() takes the time of the step. If the engine cannot compute it, calibration is over.
  int calibration_rows() const { return budget_.calibration_rows(); }
  void observe_calibration(int rows, Duration took) { budget_.observe(0, rows, took); }

  // Adds a sequence. 1 <= prompt.size() < engine.cells, and fewer than `slots_max` sequences are in.
  void add(RequestId request, std::vector<Token> prompt);
  // Takes a sequence out, in any state, between steps. Its computed tokens stay as a kept prefix. An unknown request is
  // ignored.
  void remove(RequestId request);
  // Replaces a sequence's tokens (context shift). The prefix that the cache has is used, the rest is computed.
  // 1 <= tokens.size() < engine.cells. A sequence that has more than engine.cells tokens must be replaced or taken out
  // before the next plan().
  void replace(RequestId request, std::vector<Token> tokens);

  // The next step, valid until the next call of plan(). It has rows if there are sequences, and is empty if there are
  // none. Each step that is not empty is answered by exactly one commit() or abandon(). Before that, only tokens(),
  // stats() and view() may be called.
  const Step& plan();
  // The step was computed: `sampled` has one entry for each row with output, in order. `took` is the step's time.
  void commit(std::span<const Sampled> sampled, Duration took);
  // The step's rows were not computed; its operations were applied. kNoRoom: the next plan makes room first, more each
  // time, down to a step of one row for the oldest sequence alone. kLost: sequences that were to get saved cells
  // compute those tokens instead.
  void abandon(DecodeStatus why);

  // The tokens of a sequence so far: prompt and output. Valid until the next call that changes the scheduler. Empty for
  // an unknown request.
  std::span<const Token> tokens(RequestId request) const;
  SequenceStats stats(RequestId request) const;
  SchedulerView view() const;

 private:
  struct Sequence;
  using Sequences = std::vector<std::unique_ptr<Sequence>>;

  void admit();
  bool keeps_following(Sequence& sequence);
  bool starts_following(Sequence& sequence, int cached);
  bool fits(const Sequence& sequence, const CellPool::Prefix& prefix) const;
  void run(Sequence& sequence, const CellPool::Prefix& prefix);
  void stop(Sequence& sequence, CellPool::Keep keep, SequenceState next);
  void leave_behind(const Sequence& leader);
  std::unique_ptr<Sequence> take_out(Sequence& sequence);

  void collect();
  void schedule_streams();
  void schedule_prompts();
  void share(int budget);
  void preempt_newest();
  int room() const;
  int prompt_budget() const;
  void emit();
  bool aborting_pays() const;
  void observe(Duration took);
  void begin_anew();
  const Sequence* find(RequestId request) const;

  const SchedulerConfig config_;
  CellPool pool_;
  StepBudget budget_;
  SlotCount slots_;

  Sequences sequences_;  // in order of arrival
  Sequences ended_;      // by the last commit()
  std::unordered_map<RequestId, Sequence*> by_request_;
  std::uint64_t arrivals_ = 0;

  std::uint64_t blocked_ = 0;  // arrival of the oldest sequence that does not fit; 0: none, or room may have come since
  int missing_cells_ = 0;      // free by this count, but the engine did not have them; halved by each computed step

  std::vector<MemoryOperation> first_operations_;  // of the next step

  // The planned step, and vectors that live from step to step to save allocations.
  Step step_;
  bool planned_ = false;
  int stream_rows_ = 0;
  int prompt_rows_ = 0;
  int preempted_now_ = 0;           // sequences that this plan preempted
  std::vector<Sequence*> running_;  // in order of arrival
  std::vector<Sequence*> prompts_;  // running sequences with more than one token to compute
  std::vector<Sequence*> in_step_;  // ordered by SeqId
  std::vector<Sequence*> outputs_;  // the sequence of each row with output
};

}  // namespace drover
