// A world for the batch scheduler: a fake engine, requests that share prefixes, continue earlier conversations, come in
// bursts, are canceled (also while a step is computed) and shifted at any point, an engine that fails now and then, and
// a machine whose costs have stairs and change. One seed decides all of it. After each step the world checks the
// scheduler's promises.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/fake_engine.h"
#include "runner/batch_scheduler.h"

namespace drover {

// A mistake made on purpose between the scheduler and the engine. The world must notice it.
enum class Mutation {
  kNone,
  kDropCopy,       // a prefix is not shared
  kShortCopy,      // its last cell is not
  kOtherSource,    // the prefix of another sequence is shared
  kDropRemoval,    // cells are not released
  kShortRemoval,   // one cell is not
  kDropRestore,    // what was saved is not restored
  kShortRestore,   // its last cell is not
  kOtherPiece,     // something else is restored
  kWrongPosition,  // a row is one position too far
  kWrongToken,     // a row has another token
  kSwapSeqs,       // two rows at the same position change their sequences
  kAbortsNever,    // no cancel aborts a step that it should abort
  kAbortsAlways,   // each cancel aborts a step that should be finished
};

class BatchWorld {
 public:
  explicit BatchWorld(std::uint64_t seed, Mutation mutation = Mutation::kNone);

  // Runs `steps` steps with requests coming in, then without new ones until all are done. Returns the first broken
  // promise; empty if all were kept.
  std::string run(int steps);

  std::int64_t steps() const { return steps_; }
  // Whether the mutation was made: not every world has an occasion for it.
  bool mutated() const { return mutated_; }

  struct Counts {
    std::int64_t busy_steps = 0;  // with rows to compute
    std::int64_t requests = 0;
    std::int64_t canceled = 0;
    std::int64_t replaced = 0;
    std::int64_t preempted = 0;
    std::int64_t cached_tokens = 0;
    std::int64_t computed_tokens = 0;
    std::int64_t failed_steps = 0;
    std::int64_t aborted_steps = 0;  // for a cancel
    std::int64_t restored_tokens = 0;
    std::int64_t lost_steps = 0;  // something could not be restored
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Request {
    RequestId id;
    std::vector<Token> tokens;  // what they must be
    int tokens_max = 0;         // it ends when it has so many
    bool streams = false;       // it had an output since it was last taken out of the stream
    int outputs = 0;            // in all; from the second on its pace counts
    int preempted = 0;
    std::int64_t progress_step = 0;  // it was the oldest, or had an output
  };

  int below(int n) { return n <= 1 ? 0 : static_cast<int>(random_() % static_cast<unsigned>(n)); }
  bool chance(int one_in) { return below(one_in) == 0; }

  void arrive();
  std::vector<Token> prompt();
  void append_random(std::vector<Token>& tokens, int count);
  void cancel_some();
  void replace_some();
  void replace(Request& request);
  void forget(std::size_t index);
  void step();
  DecodeStatus compute(const Step& step, bool fails, bool aborts);
  RequestId canceled_in_step();
  void leave(RequestId id);
  void check_step(const Step& step);
  void check_abort(const Step& step);
  void check_progress();
  void answer(const Step& step);
  void take_output(const Step& step, std::size_t output, std::vector<Sampled>& sampled);
  void change_machine();
  Duration step_time(int rows);
  void calibrate();
  bool same_prefix(SeqId a, SeqId b, int length) const;
  void mutate(Step& step);
  void mutate_aborts(Step& step);
  void fail(std::string what);

  std::mt19937_64 random_;
  Mutation mutation_;
  bool mutated_ = false;
  SchedulerConfig config_;
  int vocabulary_;
  int arrival_one_in_;
  int cancel_one_in_;
  int failure_one_in_;
  FakeEngine engine_;
  bool cells_are_right_;   // the scheduler was told how many there are
  bool may_lose_ = false;  // the next thing restored
  BatchScheduler scheduler_;

  // What a step takes.
  int tile_ = 1;  // rows
  int tile_microseconds_ = 0;
  int fixed_microseconds_ = 0;

  std::vector<std::vector<Token>> documents_;  // what prompts begin with
  std::deque<std::vector<Token>> past_;        // tokens of requests that ended or were canceled
  std::deque<Request> requests_;               // in order of arrival
  std::uint64_t last_id_ = 0;
  bool arrivals_ = true;
  std::int64_t steps_ = 0;
  std::string broken_;
  Counts counts_;
};

}  // namespace drover
