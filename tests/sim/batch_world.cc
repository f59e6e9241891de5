#include "batch_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace drover {
namespace {

constexpr int kPastMax = 16;
// Steps that the oldest request may take for one output, beyond those for its own tokens: to wait for a prefix, to
// measure, for failed steps.
constexpr int kPatienceSteps = 400;

SchedulerConfig make_config(std::mt19937_64& random) {
  const auto between = [&](int low, int high) { return low + static_cast<int>(random() % (high - low + 1)); };
  SchedulerConfig config;
  config.slots = config.slots_max = between(0, 3) == 0 ? between(1, 16) : between(1, 6);
  config.engine.memory = between(0, 3) == 0 ? MemoryKind::kWhole : MemoryKind::kShared;
  config.engine.seqs = config.slots_max + (between(0, 2) == 0 ? 0 : between(0, 12));
  config.engine.cells = between(0, 2) == 0 ? between(24, 80) : between(80, 600);
  if (config.engine.memory == MemoryKind::kShared) config.engine.saved_cells = between(0, 1) * between(20, 900);
  config.engine.step_tokens_max = config.slots_max + between(0, 64);
  config.gap_target = std::chrono::milliseconds(between(10, 100));
  config.gap_target_adapts = between(0, 1) == 0;
  config.shared_wait_steps_max = between(0, 3) == 0 ? 0 : between(1, 64);
  if (config.slots > 4 && between(0, 1) == 0) config.slots /= 2;  // their number follows what is measured
  return config;
}

// What the scheduler is told: some engines say that they have more cells than they do.
SchedulerConfig promised(SchedulerConfig config, int more_cells) {
  config.engine.cells += more_cells;
  return config;
}

}  // namespace

BatchWorld::BatchWorld(std::uint64_t seed, Mutation mutation)
    : random_(seed),
      mutation_(mutation),
      config_(make_config(random_)),
      vocabulary_((mutation == Mutation::kNone ? 2 : 200) + below(500)),
      arrival_one_in_(1 + below(20)),
      cancel_one_in_(20 + below(500)),
      failure_one_in_(chance(2) ? 1 << 30 : 10 + below(200)),
      engine_(config_.engine, vocabulary_),
      cells_are_right_(mutation != Mutation::kNone || !chance(4)),
      scheduler_(promised(config_, cells_are_right_ ? 0 : below(config_.engine.cells))) {
  for (int i = 0; i < 4; ++i) {
    auto& document = documents_.emplace_back();
    if (i > 0 && chance(2)) document = documents_[0];
    append_random(document, 1 + below(config_.engine.cells / 3));
  }
  change_machine();
  if (chance(2)) calibrate();
}

std::string BatchWorld::run(int steps) {
  const std::int64_t end = steps_ + steps;
  while (broken_.empty() && steps_ < end) step();
  arrivals_ = false;
  while (broken_.empty() && !requests_.empty()) step();
  arrivals_ = true;
  const SchedulerView view = scheduler_.view();
  if (broken_.empty() && (view.running != 0 || view.preempted != 0 || view.cells_used != 0)) {
    fail("something is left of requests that are done");
  }
  return broken_;
}

void BatchWorld::fail(std::string what) {
  if (broken_.empty()) broken_ = fmt::format("step {}: {}", steps_, what);
}

void BatchWorld::step() {
  ++steps_;
  arrive();
  cancel_some();
  replace_some();

  Step step = scheduler_.plan();
  if (step.empty()) {
    if (!requests_.empty()) fail("nothing is planned although there are requests");
    return;
  }
  ++counts_.busy_steps;
  check_step(step);
  const bool fails = chance(failure_one_in_);
  if (!fails) mutate(step);
  check_abort(step);
  const RequestId canceled = canceled_in_step();
  const bool aborts = std::ranges::find(step.abort_for, canceled) != step.abort_for.end();
  const DecodeStatus status = compute(step, fails, aborts);
  if (!engine_.violation().empty()) return fail(engine_.violation());
  if (status == DecodeStatus::kDone) {
    answer(step);
  } else {
    ++counts_.failed_steps;
    scheduler_.abandon(status);
  }
  if (canceled != RequestId{}) leave(canceled);
  counts_.computed_tokens = engine_.rows_computed();
  check_progress();
  if (status == DecodeStatus::kLost) return;  // the next step's operations make up for it
  const SchedulerView view = scheduler_.view();
  if (view.cells_used + view.cells_kept != engine_.cells_used()) {
    fail(fmt::format("the scheduler counts {} + {} cells, the engine {}", view.cells_used, view.cells_kept,
                     engine_.cells_used()));
  }
  if (view.cells_saved != engine_.cells_saved()) fail("the scheduler counts other saved cells than the engine");
}

DecodeStatus BatchWorld::compute(const Step& step, bool fails, bool aborts) {
  if (mutation_ == Mutation::kNone && chance(50)) {
    engine_.fail_next_restore();
    may_lose_ = true;
  }
  for (const MemoryOperation& operation : step.operations) {
    if (operation.kind == MemoryOperation::Kind::kRestore) counts_.restored_tokens += operation.end - operation.begin;
  }
  if (!engine_.apply(step.operations)) {
    if (!may_lose_ && cells_are_right_) fail("there is no room for what is restored");
    may_lose_ = false;
    ++counts_.lost_steps;
    return DecodeStatus::kLost;
  }
  if (fails) engine_.fail_next(chance(2) ? DecodeStatus::kNoRoom : DecodeStatus::kAborted);
  if (aborts) {
    engine_.fail_next(DecodeStatus::kAborted);
    ++counts_.aborted_steps;
  }
  return engine_.decode(step.rows);
}

// A request whose client leaves while the step is computed; mostly none.
RequestId BatchWorld::canceled_in_step() {
  if (mutation_ != Mutation::kNone || requests_.empty() || !chance(cancel_one_in_)) return {};
  return requests_[static_cast<std::size_t>(below(static_cast<int>(requests_.size())))].id;
}

// The request may have ended with the step.
void BatchWorld::leave(RequestId id) {
  scheduler_.remove(id);
  const auto request = std::ranges::find(requests_, id, &Request::id);
  if (request == requests_.end()) return;
  ++counts_.canceled;
  forget(static_cast<std::size_t>(request - requests_.begin()));
}

void BatchWorld::arrive() {
  if (!arrivals_ || !chance(arrival_one_in_)) return;
  const int slots = scheduler_.view().slots;
  int count = chance(4) ? slots : 1;
  while (count-- > 0 && static_cast<int>(requests_.size()) < slots) {
    Request request;
    request.id = {++last_id_};
    request.tokens = prompt();
    const int room = config_.engine.cells - static_cast<int>(request.tokens.size());
    request.tokens_max = static_cast<int>(request.tokens.size()) + 1 + below(chance(4) ? room : std::min(room, 40));
    request.progress_step = steps_;
    scheduler_.add(request.id, request.tokens);
    requests_.push_back(std::move(request));
    ++counts_.requests;
  }
}

std::vector<Token> BatchWorld::prompt() {
  std::vector<Token> tokens;
  const int kind = below(8);
  if (kind == 0 && !requests_.empty()) {
    tokens = requests_[below(static_cast<int>(requests_.size()))].tokens;
  } else if (kind <= 3 && !past_.empty()) {
    tokens = past_[below(static_cast<int>(past_.size()))];
    if (chance(4)) tokens.resize(1 + below(static_cast<int>(tokens.size())));
  } else if (kind <= 6) {
    tokens = documents_[below(static_cast<int>(documents_.size()))];
  }
  if (tokens.empty() || !chance(4)) append_random(tokens, 1 + below(chance(5) ? config_.engine.cells : 20));
  tokens.resize(std::min(static_cast<int>(tokens.size()), config_.engine.cells - 1));
  return tokens;
}

void BatchWorld::append_random(std::vector<Token>& tokens, int count) {
  while (count-- > 0) tokens.push_back(below(vocabulary_));
}

void BatchWorld::cancel_some() {
  for (std::size_t i = requests_.size(); i-- > 0;) {
    if (!chance(cancel_one_in_)) continue;
    scheduler_.remove(requests_[i].id);
    ++counts_.canceled;
    forget(i);
  }
  if (chance(100)) scheduler_.remove({last_id_ + 1});
}

void BatchWorld::replace_some() {
  for (Request& request : requests_) {
    const bool full = static_cast<int>(request.tokens.size()) == config_.engine.cells;
    if (full || chance(2 * cancel_one_in_)) replace(request);
  }
}

// Mostly a context shift: the beginning stays, and the later half of the rest. Now and then all tokens are others.
void BatchWorld::replace(Request& request) {
  const int length = static_cast<int>(request.tokens.size());
  const int keep = below(length / 2);
  const int drop = (length - keep) / 2;
  request.tokens.erase(request.tokens.begin() + keep, request.tokens.begin() + keep + drop);
  if (chance(8)) request.tokens = prompt();
  request.tokens_max = std::min(request.tokens_max, static_cast<int>(request.tokens.size()) + 30);
  request.streams = false;
  scheduler_.replace(request.id, request.tokens);
  ++counts_.replaced;
}

void BatchWorld::forget(std::size_t index) {
  past_.push_back(std::move(requests_[index].tokens));
  if (static_cast<int>(past_.size()) > kPastMax) past_.pop_front();
  requests_.erase(requests_.begin() + static_cast<std::ptrdiff_t>(index));
  if (!requests_.empty()) requests_.front().progress_step = std::max(requests_.front().progress_step, steps_);
}

void BatchWorld::check_step(const Step& step) {
  if (static_cast<int>(step.rows.size()) > config_.engine.step_tokens_max) fail("the step is too large");
  const auto outputs = std::count_if(step.rows.begin(), step.rows.end(), [](const Row& row) { return row.output; });
  if (outputs != static_cast<std::ptrdiff_t>(step.output_of.size())) fail("outputs without an owner");

  // A sequence with a single row, with output, is a stream or as cheap as one.
  int stream_rows = 0;
  std::map<SeqId, int> rows_of;
  for (const Row& row : step.rows) ++rows_of[row.seq];
  std::set<RequestId> named(step.output_of.begin(), step.output_of.end());
  named.insert(step.prompts_of.begin(), step.prompts_of.end());
  if (named.size() != rows_of.size()) fail("the requests of the step are not those of its rows");
  for (const Row& row : step.rows) stream_rows += row.output && rows_of[row.seq] == 1;
  const int prompt_rows = static_cast<int>(step.rows.size()) - stream_rows;

  bool any_pace = false;
  for (Request& request : requests_) {
    const SequenceStats stats = scheduler_.stats(request.id);
    const int preempted = stats.preempted;
    const bool in_step = std::find(step.output_of.begin(), step.output_of.end(), request.id) != step.output_of.end();
    counts_.preempted += preempted - request.preempted;
    if (std::exchange(request.preempted, preempted) != preempted) request.streams = false;
    if (request.streams && !in_step) fail(fmt::format("stream {} gets no token", request.id.value));
    if (in_step && stats.state != SequenceState::kRunning) fail("a sequence that does not run gets a token");
    if (stats.state == SequenceState::kEnded) fail(fmt::format("request {} is lost", request.id.value));
    any_pace |= request.streams && request.outputs > 1;
  }
  if (any_pace && prompt_rows > scheduler_.view().step_budget) {
    fail(fmt::format("{} prompt tokens, budget {}", prompt_rows, scheduler_.view().step_budget));
  }
}

// A cancel aborts a step if the step computes the request's prompt and its rest delays another request: one that is
// here, or one that waits at the front for the only slot. A step of a stream, a step that delays nobody, and a step
// that the engine cannot take back are finished.
void BatchWorld::check_abort(const Step& step) {
  const auto has = [](const std::vector<RequestId>& ids, RequestId id) {
    return std::ranges::find(ids, id) != ids.end();
  };
  const bool can_abort = config_.engine.memory == MemoryKind::kShared;
  const bool delays = requests_.size() > 1 || scheduler_.view().slots == 1;
  for (const RequestId id : step.abort_for) {
    if (!has(step.prompts_of, id))
      fail(fmt::format("a step that has no prompt of request {} is aborted for it", id.value));
  }
  for (const Request& request : requests_) {
    const bool aborts = has(step.abort_for, request.id);
    if (aborts && !can_abort) fail("a step is aborted that the engine cannot take back");
    if (aborts && !delays) fail("a step is aborted that delays no other request");
    if (aborts && request.streams) fail(fmt::format("a step is aborted for stream {}", request.id.value));
    if (!aborts && can_abort && delays && has(step.prompts_of, request.id)) {
      fail(fmt::format("others wait for the prompt of request {} although it was canceled", request.id.value));
    }
  }
}

void BatchWorld::check_progress() {
  if (requests_.empty()) return;
  const Request& oldest = requests_.front();
  const auto patience = 2 * static_cast<std::int64_t>(oldest.tokens.size()) + kPatienceSteps;
  if (steps_ - oldest.progress_step > patience) fail(fmt::format("request {} makes no progress", oldest.id.value));
}

void BatchWorld::answer(const Step& step) {
  if (engine_.outputs().size() != step.output_of.size()) return fail("outputs are missing");
  std::vector<Sampled> sampled;
  for (std::size_t i = 0; i < step.output_of.size() && broken_.empty(); ++i) take_output(step, i, sampled);
  if (!broken_.empty()) return;
  scheduler_.commit(sampled, step_time(static_cast<int>(step.rows.size())));
  for (const Sampled& each : sampled) {
    const auto same = [&](const Request& r) { return r.id == each.request; };
    const auto request = std::find_if(requests_.begin(), requests_.end(), same);
    if (!std::ranges::equal(scheduler_.tokens(each.request), request->tokens))
      fail("the scheduler's tokens are others");
    const bool done = static_cast<int>(request->tokens.size()) >= request->tokens_max;
    if (!each.end && !done) continue;
    counts_.cached_tokens += scheduler_.stats(each.request).cached_tokens;
    // A sequence that was reported as ended is out by itself.
    if (!each.end || chance(2)) scheduler_.remove(each.request);
    forget(static_cast<std::size_t>(request - requests_.begin()));
  }
}

// The answer must be the one that the request would get alone.
void BatchWorld::take_output(const Step& step, std::size_t output, std::vector<Sampled>& sampled) {
  const RequestId id = step.output_of[output];
  const auto request = std::find_if(requests_.begin(), requests_.end(), [&](const Request& r) { return r.id == id; });
  if (request == requests_.end()) return fail("an output of nobody");
  const Token token = engine_.outputs()[output];
  AloneAnswer alone(vocabulary_);
  for (const Token each : request->tokens) alone.push(each);
  if (token != alone.next()) return fail(fmt::format("request {} gets an answer that is not its own", id.value));
  const bool end = chance(64);
  sampled.push_back({.request = id, .token = token, .end = end});
  if (!end) request->tokens.push_back(token);
  request->streams = true;
  ++request->outputs;
  request->progress_step = steps_;
}

// Rows cost the same each, or tiles of them do; and a tile that is begun is paid for.
void BatchWorld::change_machine() {
  tile_ = chance(2) ? 1 : 4 << below(5);
  tile_microseconds_ = tile_ * (20 + below(2000));
  fixed_microseconds_ = below(10'000);
}

Duration BatchWorld::step_time(int rows) {
  if (chance(300)) change_machine();
  const int noise = chance(50) ? 10 : 1;
  const int tiles = (rows + tile_ - 1) / tile_;
  return std::chrono::microseconds((fixed_microseconds_ + tiles * tile_microseconds_ + below(1000)) * noise);
}

// Before the first request, as a runner does it.
void BatchWorld::calibrate() {
  int largest = 0;
  while (const int rows = scheduler_.calibration_rows()) {
    if (rows <= largest || rows > config_.engine.step_tokens_max) return fail("a wrong size to calibrate with");
    largest = rows;
    scheduler_.observe_calibration(rows, step_time(rows));
  }
}

bool BatchWorld::same_prefix(SeqId a, SeqId b, int length) const {
  if (engine_.length(b) < length) return true;  // known only after the operations before this one
  for (Position position = 0; position < length; ++position) {
    if (engine_.token_at(a, position) != engine_.token_at(b, position)) return false;
  }
  return true;
}

void BatchWorld::mutate_aborts(Step& step) {
  mutated_ = step.abort_for.empty() == (mutation_ == Mutation::kAbortsAlways);
  if (!mutated_) return;
  if (mutation_ == Mutation::kAbortsNever) return step.abort_for.clear();
  step.abort_for = step.output_of;
  step.abort_for.insert(step.abort_for.end(), step.prompts_of.begin(), step.prompts_of.end());
}

void BatchWorld::mutate(Step& step) {
  if (mutation_ == Mutation::kNone || mutated_ || !chance(3)) return;
  if (mutation_ == Mutation::kAbortsNever || mutation_ == Mutation::kAbortsAlways) return mutate_aborts(step);
  using Kind = MemoryOperation::Kind;
  const auto find = [&](Kind kind) {
    return std::find_if(step.operations.begin(), step.operations.end(), [&](const auto& o) { return o.kind == kind; });
  };
  const auto copy = find(Kind::kCopy);
  const auto removal = find(Kind::kRemove);
  const auto restore = find(Kind::kRestore);
  const bool has_restore = restore != step.operations.end();
  const bool has_copy = copy != step.operations.end();
  const bool has_removal = removal != step.operations.end();
  Row& row = step.rows[below(static_cast<int>(step.rows.size()))];
  mutated_ = true;
  switch (mutation_) {
    case Mutation::kNone:
    case Mutation::kAbortsNever:
    case Mutation::kAbortsAlways:
      break;
    case Mutation::kDropCopy:
      if (has_copy) return static_cast<void>(step.operations.erase(copy));
      break;
    case Mutation::kShortCopy:
      if (has_copy && copy->end > 1) return static_cast<void>(--copy->end);
      break;
    case Mutation::kOtherSource:
      for (SeqId seq = 0; has_copy && seq < config_.engine.seqs; ++seq) {
        if (seq == copy->to || engine_.length(seq) < copy->end || same_prefix(seq, copy->from, copy->end)) continue;
        copy->from = seq;
        return;
      }
      break;
    case Mutation::kDropRemoval:
      if (has_removal) return static_cast<void>(step.operations.erase(removal));
      break;
    case Mutation::kShortRemoval:
      if (has_removal && removal->begin + 1 < engine_.length(removal->from)) return static_cast<void>(++removal->begin);
      break;
    case Mutation::kDropRestore:
      if (has_restore) return static_cast<void>(step.operations.erase(restore));
      break;
    case Mutation::kShortRestore:
      if (has_restore && restore->begin + 1 < restore->end) return static_cast<void>(--restore->end);
      break;
    case Mutation::kOtherPiece:
      if (has_restore && restore->piece > 1) return static_cast<void>(--restore->piece);
      break;
    case Mutation::kWrongPosition:
      ++row.position;
      return;
    case Mutation::kWrongToken:
      if (row.output) return static_cast<void>(row.token = (row.token + 1) % vocabulary_);
      break;
    case Mutation::kSwapSeqs:
      for (Row& other : step.rows) {
        if (!row.output || other.seq == row.seq || other.position != row.position) continue;
        if (other.token == row.token) continue;
        std::swap(other.seq, row.seq);
        return;
      }
      break;
  }
  mutated_ = false;
}

}  // namespace drover
