// What each model does with what it has, and who gets memory.
#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "policy/dispatcher.h"

namespace drover {

namespace {

constexpr std::uint64_t kUnbounded = std::numeric_limits<std::uint64_t>::max();

double gibibytes(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1u << 30);
}

}  // namespace

void Dispatcher::touch(Model& model) {
  if (model.touched) return;
  model.touched = true;
  touched_.push_back(&model);
}

void Dispatcher::settle(TimePoint now) {
  now_ = now;
  // Each round stops, starts or fails something that the next one finds done.
  const std::size_t rounds_max = 10 * (models_.size() + requests_.size() + 1);
  std::size_t rounds = 0;
  do {
    DROVER_CHECK(++rounds <= rounds_max);
    while (!touched_.empty()) {
      Model& model = *touched_.back();
      touched_.pop_back();
      model.touched = false;
      serve(model, now);
      update_want(model, now);
    }
    plan(now);
  } while (!touched_.empty());
}

// ---- one model

void Dispatcher::serve(Model& model, TimePoint now) {
  if (!model.runner) return;
  Runner& runner = *model.runner;
  switch (runner.state) {
    case RunnerState::kLoading:
      if (!model.wanted()) stop(runner, shutting_down_ ? StopReason::kShutdown : StopReason::kAbandoned);
      break;
    case RunnerState::kGrowing:
      if (outgrown(runner)) {
        if (runner.running.empty()) stop(runner, StopReason::kGrown);
        break;
      }
      runner.state = RunnerState::kServing;  // who wanted more has left
      [[fallthrough]];
    case RunnerState::kServing:
      serve_queue(runner, now);
      unload_if_due(runner, now);
      break;
    case RunnerState::kDraining:
      if (model.pinned) {
        runner.state = RunnerState::kServing;
        touch(model);
      } else if (runner.running.empty())
        stop(runner, shutting_down_ ? StopReason::kShutdown : StopReason::kEvicted);
      break;
    case RunnerState::kStopping:
      break;
  }
}

void Dispatcher::serve_queue(Runner& runner, TimePoint now) {
  Model& model = *runner.model;
  if (!complete_load_only(runner, now)) runner.state = RunnerState::kGrowing;
  while (runner.state == RunnerState::kServing && static_cast<int>(runner.running.size()) < runner.slots) {
    const FairQueue::Waiter* next = model.queue.next(now);
    if (!next) break;
    Request& request = requests_.at(next->request);
    if (runner.is_isolated() || (request.suspect && !runner.running.empty())) break;
    if (runner.serves(request.needs.context_length))
      dispatch(request, runner, now);
    else
      runner.state = RunnerState::kGrowing;
  }
  if (runner.state == RunnerState::kGrowing && runner.running.empty()) stop(runner, StopReason::kGrown);
}

// False if one of them wants a larger context than there is.
bool Dispatcher::complete_load_only(Runner& runner, TimePoint now) {
  bool all = true;
  auto& load_only = runner.model->load_only;
  for (auto it = load_only.begin(); it != load_only.end();) {
    Request& request = *it->second;
    if (!runner.serves(request.needs.context_length)) {
      all = false;
      ++it;
      continue;
    }
    it = load_only.erase(it);
    leave_queue(request);
    runner.keep_alive = request.keep_alive;
    runner.last_used = now;
    act(Complete{request.waiter.request});
    forget(request);
  }
  return all;
}

void Dispatcher::dispatch(Request& request, Runner& runner, TimePoint now) {
  request.model->queue.start(request.waiter, now);
  leave_queue(request);
  request.phase = RequestPhase::kRunning;
  request.runner = &runner;
  if (runner.running.empty()) runner.progress_at = now;
  runner.running.push_back(&request);
  runner.keep_alive = request.keep_alive;
  runner.last_used = now;
  explain(*request.model, request.waiter.request, [&] {
    static constexpr const char* kPriorities[] = {"high", "normal", "low"};
    return fmt::format("gets slot {} of {} after {:.3f} s: first in the fair order ({} priority), {} others wait",
                       runner.running.size(), runner.slots, to_seconds(now - request.waiter.arrived),
                       kPriorities[static_cast<int>(request.waiter.priority)], request.model->waiting());
  });
  act(Dispatch{request.waiter.request, runner.id});
}

// Somebody waits for a larger context than the runner has.
bool Dispatcher::outgrown(const Runner& runner) const {
  const auto& needs = runner.model->context_needs;
  return !needs.empty() && !runner.serves(*needs.rbegin());
}

void Dispatcher::unload_if_due(Runner& runner, TimePoint now) {
  Model& model = *runner.model;
  if (runner.state != RunnerState::kServing || !model.idle()) return;
  if (shutting_down_)
    stop(runner, StopReason::kShutdown);
  else if (model.unload_asked)
    stop(runner, StopReason::kAskedFor);
  else if (expiry(runner) <= now)
    stop(runner, StopReason::kIdle);
}

// When an idle runner leaves memory.
TimePoint Dispatcher::expiry(const Runner& runner) const {
  const Model& model = *runner.model;
  if (runner.state != RunnerState::kServing || !model.idle() || model.pinned) return kNever;
  return runner.keep_alive < Duration::zero() ? kNever : later(runner.last_used, runner.keep_alive);
}

// A model wants memory from the moment when it has something to do and no runner that will do it, until it gets one.
void Dispatcher::update_want(Model& model, TimePoint now) {
  const bool lacks = model.wanted() && (!model.runner || model.runner->state == RunnerState::kStopping);
  if (lacks && !model.want) {
    model.want = ++wants_made_;
    model.want_since = now;
    wants_.emplace(*model.want, &model);
  } else if (!lacks && model.want) {
    wants_.erase(*model.want);
    model.want.reset();
  }
  if (!model.wanted()) model.memory_retried = false;
  if (!model.runner && model.waiting() == 0) model.unload_asked = false;
}

// ---- memory

void Dispatcher::plan(TimePoint now) {
  plan_due_ = kNever;
  const std::vector<Want> wants = gather_wants(now);
  const MemoryPlan plan = plan_memory(total_room(), gather_residents(), wants, config_.residence_min, now);
  plan_due_ = std::min(plan_due_, plan.due);
  for (const RunnerId id : plan.recover) {
    runners_.at(id).state = RunnerState::kServing;
    touch(*runners_.at(id).model);
  }
  // Those that want memory and got none are why others leave: the first of them has the oldest claim.
  const std::optional<ModelId> claimant = wants.empty() ? std::nullopt : std::optional(wants.front().model);
  for (const RunnerId id : plan.evict) {
    Runner& runner = runners_.at(id);
    const auto why = [&] {
      return fmt::format("is evicted: idle for {:.1f} s, longer than any other, and its {:.2f} GiB are needed",
                         to_seconds(now - runner.last_used), gibibytes(room_for(runner.memory_bytes).bytes));
    };
    explain(*runner.model, {}, why, claimant);
    stop(runner, StopReason::kEvicted);
  }
  for (const RunnerId id : plan.drain) {
    Runner& runner = runners_.at(id);
    if (runner.state == RunnerState::kDraining) continue;
    const auto why = [&] {
      return fmt::format("drains: its turn is over, {:.1f} s after it was loaded, with {} running and {} waiting",
                         to_seconds(now - runner.loaded_at), runner.running.size(), runner.model->waiting());
    };
    explain(*runner.model, {}, why, claimant);
    runner.state = RunnerState::kDraining;
    touch(*runner.model);
  }
  for (const ModelId id : plan.start) start(models_.at(id), now);
}

// Those that want memory now; a model that backs off keeps its position, but claims nothing meanwhile.
std::vector<Want> Dispatcher::gather_wants(TimePoint now) {
  std::vector<Want> wants;
  std::vector<Model*> models;
  for (const auto& [order, model] : wants_) models.push_back(model);
  for (Model* model : models) {
    if (const TimePoint start_at = earliest_start(*model); start_at > now) {
      plan_due_ = std::min(plan_due_, start_at);
      continue;
    }
    if (!fail_what_cannot_fit(*model, now)) continue;
    const bool blocked = model->runner != nullptr || runners_.contains(model->retry_after_runner);
    wants.push_back({model->id, need_of(*model), model->want_since, blocked});
  }
  return wants;
}

// When a model that wants memory may be started: at any time, unless it crashed repeatedly. One that could not be
// loaded waits if nobody but its pin wants it; of those who ask for it, it holds back at admission.
TimePoint Dispatcher::earliest_start(const Model& model) const {
  const bool refused = model.waiting() == 0 && model.refusal;
  return refused ? std::max(model.restart_at, model.refusal->until) : model.restart_at;
}

std::vector<Resident> Dispatcher::gather_residents() const {
  std::vector<Resident> residents;
  for (const auto& [id, runner] : runners_) {
    Standing standing = Standing::kBusy;
    if (runner.state == RunnerState::kStopping || runner.state == RunnerState::kGrowing)
      standing = Standing::kLeaving;
    else if (runner.model->pinned)
      standing = Standing::kPinned;
    else if (runner.state == RunnerState::kDraining)
      standing = Standing::kDraining;
    else if (runner.state == RunnerState::kLoading)
      standing = Standing::kLoading;
    else if (runner.model->idle())
      standing = Standing::kIdle;
    residents.push_back({id, room_for(runner.memory_bytes), standing, runner.last_used, runner.loaded_at});
  }
  return residents;
}

// Fails those that need more than there will ever be: pinned models have come since they were admitted. False if
// nobody is left.
bool Dispatcher::fail_what_cannot_fit(Model& model, TimePoint now) {
  if (room_beside_pinned(model).holds(need_of(model))) return true;
  for (Request* request : waiting_of(model))
    if (auto room = check_room(model, request->needs); !room) fail(*request, room.error(), std::nullopt, now);
  if (model.waiting() == 0) model.resident = false;
  touch(model);
  return model.wanted();
}

Room Dispatcher::total_room() const {
  Room room = room_for(config_.memory_bytes_max == 0 ? kUnbounded : config_.memory_bytes_max);
  room.runners = config_.loaded_models_max;
  return room;
}

Room Dispatcher::room_beside_pinned(const Model& model) const {
  Room room = total_room();
  for (const auto& [id, runner] : runners_)
    if (runner.model != &model && runner.model->pinned && runner.state != RunnerState::kStopping)
      room -= room_for(runner.memory_bytes);
  return room;
}

// The estimate, corrected by how far it was off last time; the correction alone never makes a model impossible.
Room Dispatcher::need_of(const Model& model) const {
  Room need = room_for(model.needs().memory_bytes);
  const std::int64_t corrected = need.bytes + room_for(model.estimate_error).bytes;
  need.bytes = std::min(corrected, std::max(need.bytes, room_beside_pinned(model).bytes));
  return need;
}

void Dispatcher::start(Model& model, TimePoint now) {
  DROVER_CHECK(model.runner == nullptr);
  const RunnerId id{++runners_started_};
  Runner& runner = runners_[id];
  runner.id = id;
  runner.model = &model;
  runner.needs = model.needs();
  runner.memory_bytes = static_cast<std::uint64_t>(need_of(model).bytes);
  runner.progress_at = now;
  model.runner = &runner;
  model.last_needs = runner.needs;
  update_want(model, now);
  explain(model, {}, [&] {
    return fmt::format("starts to load: {} wait for it, it needs {:.2f} GiB and runner {} of at most {}",
                       model.waiting(), gibibytes(room_for(runner.memory_bytes).bytes), runners_.size(),
                       config_.loaded_models_max);
  });
  act(StartRunner{id, model.id, runner.needs.context_length});
}

void Dispatcher::stop(Runner& runner, StopReason reason) {
  runner.state = RunnerState::kStopping;
  if (runner.model->waiting() == 0) runner.model->unload_asked = false;
  act(StopRunner{runner.id, reason});
  touch(*runner.model);
}

// ---- time

void Dispatcher::on(const event::Tick&, TimePoint now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Request& request = requests_.at(deadlines_.begin()->second);
    const Duration retry = retry_after(request.model->id, now);
    fail(request, {ErrorCode::kTimedOut, "model request timeout"}, retry, now);
  }
  for (auto& [id, runner] : runners_) {
    check_fault(runner, now);
    unload_if_due(runner, now);
  }
  settle(now);
}

TimePoint Dispatcher::next_due() const {
  TimePoint due = plan_due_;
  if (!deadlines_.empty()) due = std::min(due, deadlines_.begin()->first);
  for (const auto& [id, runner] : runners_) due = std::min({due, fault_due(runner), expiry(runner)});
  return due;
}

}  // namespace drover
