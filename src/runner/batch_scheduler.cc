#include "runner/batch_scheduler.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"

namespace drover {
namespace {

// Following another sequence costs a step at least, so it must save more tokens than this.
constexpr int kFollowTokensMin = 16;
// The oldest prompt gets this part of a step's prompt tokens; the shortest prompts get the rest.
constexpr int kOldestPart = 4;
// A sequence is admitted if each running sequence can still grow by this many tokens, or all together by a part of all
// cells if that is less. Without this margin a preempted sequence would be preempted again as soon as it comes back.
constexpr int kGrowthTokens = 32;
constexpr int kGrowthPart = 8;
// The oldest prompt advances by at least this many tokens per step, unless the budget is less. If cells are short, the
// newest sequence is preempted for it.
constexpr int kPromptRoomMin = 16;

constexpr int kNowhere = std::numeric_limits<int>::max();

int common_prefix(std::span<const Token> a, std::span<const Token> b) {
  const auto n = static_cast<std::ptrdiff_t>(std::min(a.size(), b.size()));
  return static_cast<int>(std::mismatch(a.begin(), a.begin() + n, b.begin()).first - a.begin());
}

}  // namespace

struct BatchScheduler::Sequence {
  RequestId request;
  std::uint64_t order = 0;  // of arrival
  SequenceState state = SequenceState::kWaiting;
  std::vector<Token> tokens;  // prompt and output
  int outputs = 0;            // tokens generated so far
  int prompt_tokens = 0;
  std::optional<int> cached_tokens;  // found in the cache when the sequence first ran
  int preempted = 0;                 // how often

  // While it is running; otherwise no cells and 0.
  SeqId seq = kNoSeq;
  int computed = 0;  // leading tokens that its cells hold
  int rows = 0;      // in the planned step

  // Followers fork from it here. The step that reaches this position ends there, so that their own tokens are computed
  // together with the rest of this sequence's.
  int fork_at = kNowhere;

  // While it is following.
  Sequence* leader = nullptr;
  int agreed = 0;           // leading tokens that it shares with the leader
  int leader_computed = 0;  // when the leader last made progress
  int stalled_steps = 0;    // since then
  bool may_follow = true;   // false: it has waited for a stalled leader

  bool is_running() const { return state == SequenceState::kRunning; }
  int length() const { return static_cast<int>(tokens.size()); }
  int remaining() const { return length() - computed; }
  int rows_max() const { return std::min(remaining(), fork_at - computed); }
  std::span<const Token> next(int count) const {
    return std::span(tokens).subspan(static_cast<std::size_t>(computed), static_cast<std::size_t>(count));
  }
  void stop_following() {
    state = SequenceState::kWaiting;
    leader = nullptr;
  }
};

BatchScheduler::BatchScheduler(SchedulerConfig config)
    : config_(config),
      pool_(config.engine),
      budget_(config.gap_target, config.gap_target_adapts, config.engine.step_tokens_max),
      slots_(config.slots_max > config.slots ? SlotCount::Mode::kMeasured : SlotCount::Mode::kFixed, config.slots,
             config.slots_max) {
  DROVER_CHECK(config.slots_max <= config.engine.seqs);
  DROVER_CHECK(config.slots_max <= config.engine.step_tokens_max);
}

BatchScheduler::~BatchScheduler() = default;

void BatchScheduler::add(RequestId request, std::vector<Token> prompt) {
  DROVER_CHECK(!planned_);
  DROVER_CHECK(static_cast<int>(sequences_.size()) < config_.slots_max);
  DROVER_CHECK(!prompt.empty() && static_cast<int>(prompt.size()) < config_.engine.cells);
  auto sequence = std::make_unique<Sequence>();
  sequence->request = request;
  sequence->order = ++arrivals_;
  sequence->tokens = std::move(prompt);
  sequence->prompt_tokens = sequence->length();
  const bool added = by_request_.emplace(request, sequence.get()).second;
  DROVER_CHECK(added);
  sequences_.push_back(std::move(sequence));
}

void BatchScheduler::remove(RequestId request) {
  DROVER_CHECK(!planned_);
  const auto entry = by_request_.find(request);
  if (entry == by_request_.end()) return;
  Sequence& sequence = *entry->second;
  by_request_.erase(entry);
  if (sequence.state == SequenceState::kEnded) {
    std::erase_if(ended_, [&](const auto& each) { return each.get() == &sequence; });
  } else {
    take_out(sequence);
  }
}

// Ends a sequence. Its computed tokens stay as a kept prefix.
std::unique_ptr<BatchScheduler::Sequence> BatchScheduler::take_out(Sequence& sequence) {
  if (sequence.is_running()) stop(sequence, CellPool::Keep::kNormally, SequenceState::kEnded);
  sequence.state = SequenceState::kEnded;
  pool_.disown(sequence.order);
  blocked_ = 0;
  const auto same = [&](const auto& each) { return each.get() == &sequence; };
  const auto found = std::find_if(sequences_.begin(), sequences_.end(), same);
  std::unique_ptr<Sequence> out = std::move(*found);
  sequences_.erase(found);
  return out;
}

void BatchScheduler::replace(RequestId request, std::vector<Token> tokens) {
  DROVER_CHECK(!planned_);
  DROVER_CHECK(!tokens.empty() && static_cast<int>(tokens.size()) < config_.engine.cells);
  const auto entry = by_request_.find(request);
  DROVER_CHECK(entry != by_request_.end() && entry->second->state != SequenceState::kEnded);
  Sequence& sequence = *entry->second;
  if (sequence.is_running()) stop(sequence, CellPool::Keep::kBriefly, SequenceState::kWaiting);
  if (sequence.state == SequenceState::kFollowing) sequence.stop_following();
  sequence.tokens = std::move(tokens);
  sequence.may_follow = true;
  blocked_ = 0;
}

const Step& BatchScheduler::plan() {
  DROVER_CHECK(!planned_);
  for (const auto& sequence : ended_) by_request_.erase(sequence->request);
  ended_.clear();
  step_.operations.clear();
  step_.rows.clear();
  step_.output_of.clear();
  step_.prompts_of.clear();
  step_.abort_for.clear();
  outputs_.clear();
  stream_rows_ = 0;
  prompt_rows_ = 0;
  preempted_now_ = 0;
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

// Lets sequences run, in order of arrival. If a sequence does not fit, later ones wait too: freed cells are reserved
// for it. The oldest sequence is always admitted; room is made for it when it needs it.
void BatchScheduler::admit() {
  for (const auto& sequence : sequences_) sequence->fork_at = kNowhere;
  for (const auto& each : sequences_) {
    Sequence& sequence = *each;
    if (sequence.is_running() || keeps_following(sequence)) continue;
    if (sequence.order == blocked_) return;
    const CellPool::Prefix prefix = pool_.find(sequence.tokens);
    if (starts_following(sequence, prefix.length)) continue;
    if (&each != &sequences_.front() && !fits(sequence, prefix)) {
      blocked_ = sequence.order;
      return;
    }
    run(sequence, prefix);
  }
}

// A follower waits as long as its leader makes progress: computing the same tokens beside it would take longer.
bool BatchScheduler::keeps_following(Sequence& sequence) {
  if (sequence.state != SequenceState::kFollowing) return false;
  Sequence& leader = *sequence.leader;
  if (leader.computed < sequence.agreed) {
    const bool progress = leader.computed > sequence.leader_computed;
    sequence.leader_computed = leader.computed;
    sequence.stalled_steps = progress ? 0 : sequence.stalled_steps + 1;
    if (sequence.stalled_steps <= config_.shared_wait_steps_max) {
      leader.fork_at = std::min(leader.fork_at, sequence.agreed);
      return true;
    }
    sequence.may_follow = false;
  }
  sequence.stop_following();
  return false;
}

// Makes the sequence a follower if a running one is computing more of its prompt than the `cached` tokens.
bool BatchScheduler::starts_following(Sequence& sequence, int cached) {
  if (config_.engine.memory != MemoryKind::kShared || !sequence.may_follow) return false;
  int most = cached + kFollowTokensMin;
  for (const auto& other : sequences_) {
    if (!other->is_running() || other->remaining() <= 1) continue;
    const int agreed = std::min(common_prefix(other->tokens, sequence.tokens), sequence.length() - 1);
    if (agreed <= most) continue;
    most = agreed;
    sequence.leader = other.get();
    sequence.agreed = agreed;
    sequence.leader_computed = other->computed;
    sequence.stalled_steps = 0;
  }
  if (sequence.leader == nullptr) return false;
  sequence.state = SequenceState::kFollowing;
  sequence.leader->fork_at = std::min(sequence.leader->fork_at, sequence.agreed);
  return true;
}

bool BatchScheduler::fits(const Sequence& sequence, const CellPool::Prefix& prefix) const {
  int needed = prefix.in_cells.kept + sequence.length() - prefix.in_cells.length;
  int others = 0;
  for (const auto& other : sequences_) {
    if (!other->is_running()) continue;
    needed += other->remaining();
    ++others;
  }
  const int growth = std::min(kGrowthTokens * (others + 1), config_.engine.cells / kGrowthPart);
  return pool_.used() + needed + growth <= config_.engine.cells - missing_cells_;
}

void BatchScheduler::run(Sequence& sequence, const CellPool::Prefix& prefix) {
  const CellPool::Taken taken = pool_.take(prefix, sequence.tokens, step_.operations);
  sequence.state = SequenceState::kRunning;
  sequence.seq = taken.seq;
  sequence.computed = taken.length;
  if (!sequence.cached_tokens) sequence.cached_tokens = taken.length;
}

// Takes the cells of a running sequence.
void BatchScheduler::stop(Sequence& sequence, CellPool::Keep keep, SequenceState next) {
  DROVER_CHECK(sequence.is_running());
  pool_.release(sequence.seq, keep, sequence.order);
  sequence.state = next;
  sequence.seq = kNoSeq;
  sequence.computed = 0;
  leave_behind(sequence);
}

// The followers of a sequence that no longer runs look for another leader, or run.
void BatchScheduler::leave_behind(const Sequence& leader) {
  for (const auto& other : sequences_) {
    if (other->leader == &leader) other->stop_following();
  }
}

void BatchScheduler::collect() {
  running_.clear();
  for (const auto& sequence : sequences_) {
    sequence->rows = 0;
    if (!sequence->is_running()) continue;
    DROVER_CHECK(sequence->length() <= config_.engine.cells);
    running_.push_back(sequence.get());
  }
}

// Cells for this step's rows: free cells and those of kept prefixes. Cells that the engine turned out not to have are
// left alone, but a sequence that runs alone always gets one.
int BatchScheduler::room() const {
  const int all = pool_.cells() - pool_.used();
  const int least = running_.size() <= 1 ? std::min(all, 1) : 0;
  return std::max(all - missing_cells_, least);
}

void BatchScheduler::preempt_newest() {
  Sequence& sequence = *running_.back();
  running_.pop_back();
  if (sequence.rows > 0) --stream_rows_;
  sequence.rows = 0;
  stop(sequence, CellPool::Keep::kForOwner, SequenceState::kPreempted);
  ++sequence.preempted;
  ++preempted_now_;
}

// One token of each sequence that has one left to compute: streams, and prompts that are in the cache.
void BatchScheduler::schedule_streams() {
  for (Sequence* sequence : running_) {
    if (sequence->remaining() > 1) continue;
    sequence->rows = 1;
    ++stream_rows_;
  }
  while (stream_rows_ > room() && running_.size() > 1) preempt_newest();
  DROVER_CHECK(stream_rows_ <= room());
}

void BatchScheduler::schedule_prompts() {
  const auto is_prompt = [](const Sequence* s) { return s->remaining() > 1; };
  const auto oldest = std::find_if(running_.begin(), running_.end(), is_prompt);
  if (oldest == running_.end()) return;
  const Sequence* prompt = *oldest;
  const int wanted = std::min(prompt->remaining(), kPromptRoomMin);
  while (running_.back() != prompt && room() - stream_rows_ < wanted) preempt_newest();

  prompts_.clear();
  std::copy_if(running_.begin(), running_.end(), std::back_inserter(prompts_), is_prompt);
  share(std::min(prompt_budget(), room() - stream_rows_));
}

// A stream has a pace from its second token on. Requests that come to an idle engine together then start together:
// the first token of the one does not slow down the prompts of the others.
int BatchScheduler::prompt_budget() const {
  const auto has_pace = [](const Sequence* s) { return s->outputs > 1 && s->rows > 0; };
  if (std::any_of(running_.begin(), running_.end(), has_pace)) {
    return budget_.prompt_tokens(stream_rows_, static_cast<int>(prompts_.size()));
  }
  return budget_.prompt_tokens_alone(stream_rows_);
}

// Divides a step's prompt tokens. The oldest prompt always advances, and a short prompt does not wait for a long one.
void BatchScheduler::share(int budget) {
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

// Rows are ordered by SeqId: engines with recurrent memory compute neighboring sequences together.
void BatchScheduler::emit() {
  const int rows = stream_rows_ + prompt_rows_;
  DROVER_CHECK(rows <= config_.engine.step_tokens_max);
  DROVER_CHECK(rows <= pool_.cells() - pool_.used());
  const int spare = std::min(missing_cells_, pool_.cells() - pool_.used() - rows);
  pool_.make_room(rows + spare, step_.operations);
  pool_.save_kept(rows, step_.operations);

  in_step_.clear();
  std::copy_if(running_.begin(), running_.end(), std::back_inserter(in_step_),
               [](const Sequence* s) { return s->rows > 0; });
  std::sort(in_step_.begin(), in_step_.end(), [](const Sequence* a, const Sequence* b) { return a->seq < b->seq; });
  for (Sequence* sequence : in_step_) {
    Position position = sequence->computed;
    for (const Token token : sequence->next(sequence->rows)) {
      step_.rows.push_back({.token = token, .position = position++, .seq = sequence->seq, .output = false});
    }
    if (sequence->remaining() > 1) step_.prompts_of.push_back(sequence->request);
    if (sequence->rows < sequence->remaining()) continue;
    step_.rows.back().output = true;
    step_.output_of.push_back(sequence->request);
    outputs_.push_back(sequence);
  }
  if (aborting_pays()) step_.abort_for = step_.prompts_of;
}

// Whether to abort this step when a prompt in it is canceled. It pays if the rest of the step delays another request,
// in the runner or at the front, which waits if there is only one slot. Otherwise the step is finished: its tokens are
// kept, and the same prompt may come again. A memory that is not shared cannot be restored after an aborted step.
bool BatchScheduler::aborting_pays() const {
  if (config_.engine.memory != MemoryKind::kShared) return false;
  return sequences_.size() > 1 || slots_.slots() <= 1;
}

void BatchScheduler::commit(std::span<const Sampled> sampled, Duration took) {
  DROVER_CHECK(sampled.size() == outputs_.size());
  if (!std::exchange(planned_, false)) return;
  pool_.settle();
  observe(took);
  for (Sequence* sequence : in_step_) {
    pool_.extend(sequence->seq, sequence->next(sequence->rows));
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
  if (missing_cells_ > 0) blocked_ = 0;
  missing_cells_ /= 2;
}

void BatchScheduler::observe(Duration took) {
  budget_.observe(stream_rows_, prompt_rows_, took);
  if (preempted_now_ > 0) slots_.observe_preempted(static_cast<int>(running_.size()) + 1);
  if (step_.prompts_of.empty()) slots_.observe(static_cast<int>(step_.rows.size()), took);
}

void BatchScheduler::abandon(DecodeStatus why) {
  if (!std::exchange(planned_, false)) return;
  if (why == DecodeStatus::kLost) return begin_anew();
  pool_.settle();
  if (why != DecodeStatus::kNoRoom) return;
  const int more = std::max(2 * missing_cells_, static_cast<int>(step_.rows.size()));
  missing_cells_ = std::min(more, config_.engine.cells);
}

// Sequences that started to run in this step lack saved cells, so they wait and are admitted again.
void BatchScheduler::begin_anew() {
  for (const auto& sequence : sequences_) {
    if (!sequence->is_running() || !pool_.was_taken(sequence->seq)) continue;
    sequence->state = SequenceState::kWaiting;
    sequence->seq = kNoSeq;
    sequence->computed = 0;
    if (sequence->outputs == 0) sequence->cached_tokens.reset();
    leave_behind(*sequence);
  }
  pool_.undo_taken(first_operations_);
  blocked_ = 0;
}

const BatchScheduler::Sequence* BatchScheduler::find(RequestId request) const {
  const auto entry = by_request_.find(request);
  return entry == by_request_.end() ? nullptr : entry->second;
}

std::span<const Token> BatchScheduler::tokens(RequestId request) const {
  const Sequence* sequence = find(request);
  return sequence == nullptr ? std::span<const Token>() : std::span<const Token>(sequence->tokens);
}

SequenceStats BatchScheduler::stats(RequestId request) const {
  const Sequence* sequence = find(request);
  if (sequence == nullptr) return {};
  return {.state = sequence->state,
          .prompt_tokens = sequence->prompt_tokens,
          .cached_tokens = sequence->cached_tokens.value_or(0),
          .preempted = sequence->preempted};
}

SchedulerView BatchScheduler::view() const {
  SchedulerView view;
  int generating = 0;
  for (const auto& sequence : sequences_) {
    if (sequence->is_running()) ++view.running;
    if (sequence->state == SequenceState::kPreempted) ++view.preempted;
    if (sequence->is_running() && sequence->remaining() == 1) ++generating;
  }
  const int prompts = view.running - generating;
  view.slots = slots_.slots();
  view.cells_used = pool_.used();
  view.cells_shared = pool_.shared();
  view.cells_kept = pool_.kept();
  view.cells_saved = pool_.saved();
  view.step_budget = budget_.prompt_tokens(std::max(generating, 1), prompts);
  return view;
}

}  // namespace drover
