#include "runner/batch_scheduler.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "runner/cell_pool.h"
#include "runner/step_budget.h"

namespace drover {
namespace {

// Waiting for another sequence's prefix costs a step at least, so it must save more tokens than this.
constexpr int kSharedWaitTokensMin = 16;
// The oldest prompt gets this part of a step's prompt tokens; the shortest prompts get the rest.
constexpr int kOldestPart = 4;
// A sequence is let in if the others can grow by so many tokens each before the cells are used up again, or by a part
// of all cells if that is less. Without this a parked sequence would come back only to be parked at once.
constexpr int kGrowthTokens = 32;
constexpr int kGrowthPart = 8;
// An older prompt goes on by at least so many tokens, if not for lack of budget, or a newer sequence is parked.
constexpr int kPromptRoomMin = 16;

constexpr int kNowhere = std::numeric_limits<int>::max();

struct Sequence {
  RequestId request;
  std::uint64_t order = 0;  // of arrival
  std::vector<Token> tokens;
  int computed = 0;  // of the tokens: in the slot. 0 without a slot
  Slot slot = kNoSlot;
  int rows = 0;  // in the planned step
  bool started = false;
  int outputs = 0;  // tokens that it has brought forth
  bool parked = false;
  SequenceStats stats;

  // Those that wait for it fork here, so that the step that reaches this position goes no further: what they have of
  // their own is then computed together with the rest of this one.
  int fork_at = kNowhere;

  // While it waits for a prefix that another computes.
  Sequence* leader = nullptr;
  int agreed = 0;           // leading tokens that it has in common with the leader
  int leader_computed = 0;  // when the leader last made progress
  int stalled_steps = 0;    // since then
  bool may_wait = true;

  bool bound() const { return slot != kNoSlot; }
  int length() const { return static_cast<int>(tokens.size()); }
  int remaining() const { return length() - computed; }
  int rows_max() const { return std::min(remaining(), fork_at - computed); }
  std::span<const Token> next(int count) const { return std::span(tokens).subspan(computed, count); }
};

using Sequences = std::vector<std::unique_ptr<Sequence>>;

int common_prefix(const Sequence& a, const Sequence& b) {
  const int n = std::min(a.length(), b.length());
  return static_cast<int>(std::mismatch(a.tokens.begin(), a.tokens.begin() + n, b.tokens.begin()).first -
                          a.tokens.begin());
}

}  // namespace

class BatchScheduler::Impl {
 public:
  explicit Impl(SchedulerConfig config)
      : config_(config),
        pool_(config.engine),
        budget_(config.gap_target, config.gap_target_adapts, config.engine.step_tokens_max) {
    DROVER_CHECK(config.places >= 1 && config.places <= config.engine.slots);
    DROVER_CHECK(config.places <= config.engine.step_tokens_max);
  }

  void add(RequestId request, std::vector<Token> prompt);
  void remove(RequestId request);
  void replace(RequestId request, std::vector<Token> tokens);
  const Step& plan();
  void commit(std::span<const Sampled> sampled, Duration took);
  void abandon(DecodeStatus why);
  const Sequence* find(RequestId request) const;
  SchedulerView view() const;
  StepBudget& budget() { return budget_; }

 private:
  void admit();
  bool must_wait(Sequence& sequence);
  bool follow(Sequence& sequence, int cached);
  bool fits(const Sequence& sequence, const CellPool::Prefix& prefix) const;
  void bind(Sequence& sequence, const CellPool::Prefix& prefix);
  void unbind(Sequence& sequence, CellPool::Keep keep);
  std::unique_ptr<Sequence> take_out(Sequence& sequence);

  void collect();
  void schedule_streams();
  void schedule_prompts();
  void share(int budget);
  void park_newest();
  int room() const;
  int prompt_budget() const;
  void emit();
  void begin_anew();

  const SchedulerConfig config_;
  CellPool pool_;
  StepBudget budget_;

  Sequences sequences_;  // in order of arrival
  Sequences ended_;      // in the last commit(); only to be asked for their tokens and stats
  std::unordered_map<RequestId, Sequence*> by_request_;
  std::uint64_t arrivals_ = 0;

  // Arrival of the first sequence that there was no room for; 0 when room may have come since.
  std::uint64_t blocked_ = 0;
  // Cells that the engine did not have although they are free by our count. Halved by each step that is computed.
  int missing_cells_ = 0;

  std::vector<MemoryOperation> first_operations_;  // of the next step

  // The planned step, and vectors that live from step to step to spare allocations.
  Step step_;
  bool planned_ = false;
  int stream_rows_ = 0;
  int prompt_rows_ = 0;
  std::vector<Sequence*> bound_;    // in order of arrival
  std::vector<Sequence*> prompts_;  // of those: with more than one token to compute
  std::vector<Sequence*> in_step_;  // in order of slots
  std::vector<Sequence*> outputs_;  // for each row with output
};

void BatchScheduler::Impl::add(RequestId request, std::vector<Token> prompt) {
  DROVER_CHECK(!planned_);
  DROVER_CHECK(static_cast<int>(sequences_.size()) < config_.places);
  DROVER_CHECK(!prompt.empty() && static_cast<int>(prompt.size()) < config_.engine.cells);
  auto sequence = std::make_unique<Sequence>();
  sequence->request = request;
  sequence->order = ++arrivals_;
  sequence->tokens = std::move(prompt);
  sequence->stats.prompt_tokens = sequence->length();
  const bool added = by_request_.emplace(request, sequence.get()).second;
  DROVER_CHECK(added);
  sequences_.push_back(std::move(sequence));
}

void BatchScheduler::Impl::remove(RequestId request) {
  DROVER_CHECK(!planned_);
  const auto entry = by_request_.find(request);
  if (entry == by_request_.end()) return;
  const auto same = [&](const auto& s) { return s.get() == entry->second; };
  if (std::erase_if(ended_, same) == 0) take_out(*entry->second);
  by_request_.erase(entry);
}

// Lets go of what the sequence has in the cache and of its place. What is computed stays as a kept prefix.
std::unique_ptr<Sequence> BatchScheduler::Impl::take_out(Sequence& sequence) {
  unbind(sequence, CellPool::Keep::kNormally);
  pool_.disown(sequence.order);
  blocked_ = 0;
  const auto place =
      std::find_if(sequences_.begin(), sequences_.end(), [&](const auto& s) { return s.get() == &sequence; });
  std::unique_ptr<Sequence> out = std::move(*place);
  sequences_.erase(place);
  return out;
}

void BatchScheduler::Impl::replace(RequestId request, std::vector<Token> tokens) {
  DROVER_CHECK(!planned_);
  DROVER_CHECK(!tokens.empty() && static_cast<int>(tokens.size()) < config_.engine.cells);
  const auto entry = by_request_.find(request);
  DROVER_CHECK(entry != by_request_.end());
  Sequence& sequence = *entry->second;
  unbind(sequence, CellPool::Keep::kBriefly);
  sequence.tokens = std::move(tokens);
  sequence.leader = nullptr;
  sequence.may_wait = true;
  blocked_ = 0;
}

const Step& BatchScheduler::Impl::plan() {
  DROVER_CHECK(!planned_);
  for (const auto& sequence : ended_) by_request_.erase(sequence->request);
  ended_.clear();
  step_.operations.clear();
  step_.rows.clear();
  step_.output_of.clear();
  step_.prompts_of.clear();
  outputs_.clear();
  stream_rows_ = 0;
  prompt_rows_ = 0;
  if (sequences_.empty()) return step_;
  std::swap(step_.operations, first_operations_);

  admit();
  collect();
  schedule_streams();
  schedule_prompts();
  emit();
  DROVER_CHECK(!step_.rows.empty());
  planned_ = true;
  return step_;
}

// Gives slots to sequences in order of arrival. One that there is no room for holds up those behind it: what becomes
// free is to be its own. The oldest sequence is let in regardless; room is made for it when it needs it.
void BatchScheduler::Impl::admit() {
  for (const auto& sequence : sequences_) sequence->fork_at = kNowhere;
  for (const auto& each : sequences_) {
    Sequence& sequence = *each;
    if (sequence.bound() || must_wait(sequence)) continue;
    if (sequence.order == blocked_) return;
    const CellPool::Prefix prefix = pool_.find(sequence.tokens);
    if (follow(sequence, prefix.length)) continue;
    if (&each != &sequences_.front() && !fits(sequence, prefix)) {
      blocked_ = sequence.order;
      return;
    }
    bind(sequence, prefix);
  }
}

// Whether the sequence goes on waiting for its leader. A leader that makes progress is waited for however long it
// takes: to compute the same tokens beside it would take longer.
bool BatchScheduler::Impl::must_wait(Sequence& sequence) {
  Sequence* leader = sequence.leader;
  if (leader == nullptr) return false;
  if (leader->computed < sequence.agreed) {
    const bool progress = leader->computed > sequence.leader_computed;
    sequence.leader_computed = leader->computed;
    sequence.stalled_steps = progress ? 0 : sequence.stalled_steps + 1;
    if (sequence.stalled_steps <= config_.shared_wait_steps_max) {
      leader->fork_at = std::min(leader->fork_at, sequence.agreed);
      return true;
    }
    sequence.may_wait = false;
  }
  sequence.leader = nullptr;
  return false;
}

// Makes the sequence wait if another is computing more of its prompt at this moment than the cache has.
bool BatchScheduler::Impl::follow(Sequence& sequence, int cached) {
  if (config_.engine.memory != MemoryKind::kShared || !sequence.may_wait) return false;
  int most = cached + kSharedWaitTokensMin;
  for (const auto& other : sequences_) {
    if (!other->bound() || other->remaining() <= 1) continue;
    const int agreed = std::min(common_prefix(*other, sequence), sequence.length() - 1);
    if (agreed <= most) continue;
    most = agreed;
    sequence.leader = other.get();
    sequence.agreed = agreed;
    sequence.leader_computed = other->computed;
    sequence.stalled_steps = 0;
  }
  if (sequence.leader == nullptr) return false;
  sequence.leader->fork_at = std::min(sequence.leader->fork_at, sequence.agreed);
  return true;
}

bool BatchScheduler::Impl::fits(const Sequence& sequence, const CellPool::Prefix& prefix) const {
  int needed = prefix.in_cells.kept + sequence.length() - prefix.in_cells.length;
  int others = 0;
  for (const auto& other : sequences_) {
    if (!other->bound()) continue;
    needed += other->remaining();
    ++others;
  }
  const int growth = std::min(kGrowthTokens * (others + 1), config_.engine.cells / kGrowthPart);
  return pool_.used() + needed + growth <= config_.engine.cells - missing_cells_;
}

void BatchScheduler::Impl::bind(Sequence& sequence, const CellPool::Prefix& prefix) {
  const CellPool::Taken taken = pool_.take(prefix, sequence.tokens, step_.operations);
  sequence.slot = taken.slot;
  sequence.computed = taken.length;
  sequence.parked = false;
  if (!sequence.started) sequence.stats.cached_tokens = taken.length;
  sequence.started = true;
}

// Takes its slot from a sequence, if it has one. Those that wait for it look for another leader, or begin.
void BatchScheduler::Impl::unbind(Sequence& sequence, CellPool::Keep keep) {
  if (!sequence.bound()) return;
  pool_.release(sequence.slot, keep, sequence.order);
  sequence.slot = kNoSlot;
  sequence.computed = 0;
  for (const auto& other : sequences_) {
    if (other->leader == &sequence) other->leader = nullptr;
  }
}

void BatchScheduler::Impl::collect() {
  bound_.clear();
  for (const auto& sequence : sequences_) {
    sequence->rows = 0;
    if (!sequence->bound()) continue;
    DROVER_CHECK(sequence->length() <= config_.engine.cells);
    bound_.push_back(sequence.get());
  }
}

// Cells for this step's rows: free ones and those of kept prefixes. Cells that the engine turned out not to have are
// left alone, but not to the point where a sequence that is alone comes to a halt.
int BatchScheduler::Impl::room() const {
  const int all = pool_.cells() - pool_.used();
  const int least = bound_.size() <= 1 ? std::min(all, 1) : 0;
  return std::max(all - missing_cells_, least);
}

void BatchScheduler::Impl::park_newest() {
  Sequence& sequence = *bound_.back();
  bound_.pop_back();
  if (sequence.rows > 0) --stream_rows_;
  sequence.rows = 0;
  unbind(sequence, CellPool::Keep::kForOwner);
  sequence.parked = true;
  ++sequence.stats.parked;
}

// One token of each sequence that has one left to compute: of the streams, and of prompts that are in the cache.
void BatchScheduler::Impl::schedule_streams() {
  for (Sequence* sequence : bound_) {
    if (sequence->remaining() > 1) continue;
    sequence->rows = 1;
    ++stream_rows_;
  }
  while (stream_rows_ > room() && bound_.size() > 1) park_newest();
  DROVER_CHECK(stream_rows_ <= room());
}

void BatchScheduler::Impl::schedule_prompts() {
  const auto is_prompt = [](const Sequence* s) { return s->remaining() > 1; };
  const auto oldest = std::find_if(bound_.begin(), bound_.end(), is_prompt);
  if (oldest == bound_.end()) return;
  const Sequence* prompt = *oldest;
  const int wanted = std::min(prompt->remaining(), kPromptRoomMin);
  while (bound_.back() != prompt && room() - stream_rows_ < wanted) park_newest();

  prompts_.clear();
  std::copy_if(bound_.begin(), bound_.end(), std::back_inserter(prompts_), is_prompt);
  share(std::min(prompt_budget(), room() - stream_rows_));
}

// A stream is held to its pace from its second token on. So those that come to an idle engine together begin together:
// the one whose prompt is computed first does not slow down the others' prompts, and itself, for its own second token.
int BatchScheduler::Impl::prompt_budget() const {
  const auto has_pace = [](const Sequence* s) { return s->outputs > 1 && s->rows > 0; };
  if (std::any_of(bound_.begin(), bound_.end(), has_pace)) {
    return budget_.prompt_tokens(stream_rows_, static_cast<int>(prompts_.size()));
  }
  return budget_.prompt_tokens_alone(stream_rows_);
}

// Shares out a step's prompt tokens, so that a short prompt does not wait for a long one and the oldest always goes on.
void BatchScheduler::Impl::share(int budget) {
  if (budget <= 0) return;
  const auto give = [&](Sequence& sequence, int most) {
    const int rows = std::min({sequence.rows_max() - sequence.rows, most, budget});
    sequence.rows += rows;
    budget -= rows;
    prompt_rows_ += rows;
  };
  give(*prompts_.front(), std::max(1, budget / kOldestPart));
  std::sort(prompts_.begin(), prompts_.end(), [](const Sequence* a, const Sequence* b) {
    return std::pair(a->remaining(), a->order) < std::pair(b->remaining(), b->order);
  });
  for (Sequence* sequence : prompts_) give(*sequence, budget);
}

// Rows in order of slots: engines with recurrent memory compute neighbouring slots together.
void BatchScheduler::Impl::emit() {
  const int rows = stream_rows_ + prompt_rows_;
  DROVER_CHECK(rows <= config_.engine.step_tokens_max);
  DROVER_CHECK(rows <= pool_.cells() - pool_.used());
  const int spare = std::min(missing_cells_, pool_.cells() - pool_.used() - rows);
  pool_.make_room(rows + spare, step_.operations);
  pool_.save_kept(rows, step_.operations);

  in_step_.clear();
  std::copy_if(bound_.begin(), bound_.end(), std::back_inserter(in_step_),
               [](const Sequence* s) { return s->rows > 0; });
  std::sort(in_step_.begin(), in_step_.end(), [](const Sequence* a, const Sequence* b) { return a->slot < b->slot; });
  for (Sequence* sequence : in_step_) {
    Position position = sequence->computed;
    for (const Token token : sequence->next(sequence->rows)) {
      step_.rows.push_back({.token = token, .position = position++, .slot = sequence->slot, .output = false});
    }
    if (sequence->remaining() > 1) step_.prompts_of.push_back(sequence->request);
    if (sequence->rows < sequence->remaining()) continue;
    step_.rows.back().output = true;
    step_.output_of.push_back(sequence->request);
    outputs_.push_back(sequence);
  }
}

void BatchScheduler::Impl::commit(std::span<const Sampled> sampled, Duration took) {
  DROVER_CHECK(sampled.size() == outputs_.size());
  if (!std::exchange(planned_, false)) return;
  pool_.settle();
  for (Sequence* sequence : in_step_) {
    pool_.extend(sequence->slot, sequence->next(sequence->rows));
    sequence->computed += sequence->rows;
  }
  for (std::size_t i = 0; i < sampled.size(); ++i) {
    Sequence& sequence = *outputs_[i];
    DROVER_CHECK(sampled[i].request == sequence.request);
    if (sampled[i].end) {
      ended_.push_back(take_out(sequence));
    } else {
      sequence.tokens.push_back(sampled[i].token);
      ++sequence.outputs;
    }
  }
  budget_.observe(stream_rows_, prompt_rows_, took);
  if (missing_cells_ > 0) blocked_ = 0;
  missing_cells_ /= 2;
}

void BatchScheduler::Impl::abandon(DecodeStatus why) {
  if (!std::exchange(planned_, false)) return;
  if (why == DecodeStatus::kLost) return begin_anew();
  pool_.settle();
  if (why != DecodeStatus::kNoRoom) return;
  const int more = std::max(2 * missing_cells_, static_cast<int>(step_.rows.size()));
  missing_cells_ = std::min(more, config_.engine.cells);
}

// The sequences that got a slot in this step lose it: it does not hold what it should.
void BatchScheduler::Impl::begin_anew() {
  for (const auto& sequence : sequences_) {
    if (!sequence->bound() || !pool_.was_taken(sequence->slot)) continue;
    sequence->slot = kNoSlot;
    sequence->computed = 0;
    if (sequence->outputs == 0) sequence->started = false;
    for (const auto& other : sequences_) {
      if (other->leader == sequence.get()) other->leader = nullptr;
    }
  }
  pool_.undo_taken(first_operations_);
  blocked_ = 0;
}

const Sequence* BatchScheduler::Impl::find(RequestId request) const {
  const auto entry = by_request_.find(request);
  return entry == by_request_.end() ? nullptr : entry->second;
}

SchedulerView BatchScheduler::Impl::view() const {
  SchedulerView view;
  int generating = 0;
  for (const auto& sequence : sequences_) {
    if (sequence->bound()) ++view.running;
    if (sequence->parked) ++view.parked;
    if (sequence->bound() && sequence->remaining() == 1) ++generating;
  }
  const int prompts = view.running - generating;
  view.cells_used = pool_.used();
  view.cells_shared = pool_.shared();
  view.cells_kept = pool_.kept();
  view.cells_saved = pool_.saved();
  view.step_budget = budget_.prompt_tokens(std::max(generating, 1), prompts);
  return view;
}

BatchScheduler::BatchScheduler(SchedulerConfig config) : impl_(std::make_unique<Impl>(config)) {}
BatchScheduler::~BatchScheduler() = default;

int BatchScheduler::calibration_rows() const {
  return impl_->budget().calibration_rows();
}

void BatchScheduler::observe_calibration(int rows, Duration took) {
  impl_->budget().observe(0, rows, took);
}

void BatchScheduler::add(RequestId request, std::vector<Token> prompt, TimePoint) {
  impl_->add(request, std::move(prompt));
}

void BatchScheduler::remove(RequestId request, TimePoint) {
  impl_->remove(request);
}

void BatchScheduler::replace(RequestId request, std::vector<Token> tokens, TimePoint) {
  impl_->replace(request, std::move(tokens));
}

const Step& BatchScheduler::plan(TimePoint) {
  return impl_->plan();
}

void BatchScheduler::commit(std::span<const Sampled> sampled, Duration took, TimePoint) {
  impl_->commit(sampled, took);
}

void BatchScheduler::abandon(DecodeStatus why, TimePoint) {
  impl_->abandon(why);
}

std::span<const Token> BatchScheduler::tokens(RequestId request) const {
  const Sequence* sequence = impl_->find(request);
  return sequence == nullptr ? std::span<const Token>() : std::span<const Token>(sequence->tokens);
}

SequenceStats BatchScheduler::stats(RequestId request) const {
  const Sequence* sequence = impl_->find(request);
  return sequence == nullptr ? SequenceStats{} : sequence->stats;
}

SchedulerView BatchScheduler::view() const {
  return impl_->view();
}

}  // namespace drover
