// What happens to runners: loads, steps, ends and deaths.
#include <fmt/core.h>

#include <algorithm>

#include "policy/dispatcher.h"

namespace drover {

namespace {

// Runners that may be killed from outside under a request, for instance because it takes too much memory: beside others
// before it is looked at alone, and alone before it fails.
constexpr int kKilledBesideMax = 2;
constexpr int kKilledAloneMax = 2;
// A runner that dies while it loads is started once more before that counts as a failed load.
constexpr int kLoadDeathsMax = 2;

constexpr const char* kCrashText =
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check "
    "ollama server logs for details";

}  // namespace

bool Dispatcher::Runner::serves(int context) const {
  if (context <= std::max(context_length, needs.context_length)) return true;
  // It got less than it was started for, so there is no more to be had.
  return state != RunnerState::kLoading && context_length < needs.context_length;
}

bool Dispatcher::Runner::is_isolated() const {
  return running.size() == 1 && running.front()->suspect;
}

Dispatcher::Runner* Dispatcher::runner_of(RunnerId id) {
  const auto it = runners_.find(id);
  return it == runners_.end() ? nullptr : &it->second;
}

// ---- loads

void Dispatcher::on(const event::LoadProgress& progress, TimePoint now) {
  Runner* runner = runner_of(progress.runner);
  if (!runner || runner->state != RunnerState::kLoading) return;
  // The same figure again is a sign of life and not of progress.
  if (progress.fraction <= runner->load_fraction) return;
  runner->load_fraction = progress.fraction;
  runner->progress_at = now;
}

void Dispatcher::on(const event::Loaded& loaded, TimePoint now) {
  Runner* runner = runner_of(loaded.runner);
  if (!runner || runner->state != RunnerState::kLoading) return;
  Model& model = *runner->model;
  runner->state = RunnerState::kServing;
  runner->slots = std::max(loaded.slots, 1);
  runner->context_length = loaded.context_length;
  if (loaded.memory_bytes > 0) runner->memory_bytes = loaded.memory_bytes;
  runner->load_fraction = 1;
  runner->loaded_at = runner->last_used = runner->progress_at = now;
  model.estimate_error =
      runner->memory_bytes > runner->needs.memory_bytes ? runner->memory_bytes - runner->needs.memory_bytes : 0;
  model.memory_retried = false;
  model.resident = model.pinned && !model.unload_asked && !shutting_down_;
  // Success with less memory says nothing about what did not fit.
  if (!model.refusal || model.refusal->applies_to(runner->needs)) {
    model.refusal.reset();
    model.load_failures = 0;
  }
  touch(model);
  settle(now);
}

void Dispatcher::on(const event::SlotsChanged& changed, TimePoint now) {
  Runner* runner = runner_of(changed.runner);
  // Before Loaded the number would be overwritten, and one that stops takes no more requests.
  if (!runner || runner->state == RunnerState::kLoading || runner->state == RunnerState::kStopping) return;
  const int slots = std::max(changed.slots, 1);
  if (slots == runner->slots) return;
  runner->slots = slots;
  touch(*runner->model);
  settle(now);
}

void Dispatcher::on(const event::LoadFailed& failed, TimePoint now) {
  Runner* runner = runner_of(failed.runner);
  if (!runner || runner->state != RunnerState::kLoading) return;
  runner->state = RunnerState::kStopping;
  Model& model = *runner->model;
  touch(model);
  if (failed.memory && !model.memory_retried && make_room_for_retry(model))
    model.memory_retried = true;
  else
    load_ended(*runner, failed.error, failed.memory, now);
  settle(now);
}

// Finds a runner whose end makes a second try worthwhile: one that ends anyway, else the idle one that was used least
// recently, which is stopped.
bool Dispatcher::make_room_for_retry(Model& model) {
  Runner* victim = nullptr;
  for (auto& [id, runner] : runners_) {
    if (runner.model == &model) continue;
    if (runner.state == RunnerState::kStopping) {
      model.retry_after_runner = id;
      return true;
    }
    if (runner.state != RunnerState::kServing || runner.model->pinned || !runner.model->idle()) continue;
    if (!victim || runner.last_used < victim->last_used) victim = &runner;
  }
  if (!victim) return false;
  stop(*victim, StopReason::kEvicted);
  model.retry_after_runner = victim->id;
  return true;
}

// The load has failed for good: those that waited for it get the error, and so do others for a while.
void Dispatcher::load_ended(Runner& runner, const Error& error, bool memory, TimePoint now) {
  Model& model = *runner.model;
  model.memory_retried = false;
  if (error.code == ErrorCode::kNotFound && !model.pinned) {
    for (Request* request : waiting_of(model)) fail(*request, error, std::nullopt, now);
    return;
  }
  ++model.load_failures;
  model.last_error = error.message;
  const Duration pause = backoff(config_.load_backoff_first, model.load_failures);
  model.refusal = Refusal{later(now, pause), error, memory, runner.needs};
  for (Request* request : waiting_of(model))
    if (model.refusal->applies_to(request->needs)) fail(*request, error, pause, now);
}

// ---- requests that run

void Dispatcher::on(const event::OutputSent& sent, TimePoint now) {
  const auto it = requests_.find(sent.request);
  if (it == requests_.end()) return;
  it->second.output_sent = true;
  // It has come further than when its runner died, and will not be replayed any more.
  if (!std::exchange(it->second.suspect, false)) return;
  touch(*it->second.model);
  settle(now);
}

void Dispatcher::on(const event::Finished& finished, TimePoint now) {
  const auto it = requests_.find(finished.request);
  if (it == requests_.end() || it->second.phase == RequestPhase::kWaiting) return;
  Request& request = it->second;
  Runner& runner = *request.runner;
  Model& model = *request.model;
  const bool canceled = request.phase == RequestPhase::kCanceling;
  model.queue.end(request.waiter, canceled ? FairQueue::Ending::kCanceled : FairQueue::Ending::kComplete, now);
  std::erase(runner.running, &request);
  runner.last_used = runner.progress_at = now;
  if (!canceled) model.crashes = 0;
  forget(request);
  touch(model);
  settle(now);
}

void Dispatcher::on(const event::Progress& progress, TimePoint now) {
  Runner* runner = runner_of(progress.runner);
  if (runner && runner->state != RunnerState::kLoading) runner->progress_at = now;
}

// ---- ends and deaths

void Dispatcher::on(const event::Blamed& blamed, TimePoint) {
  if (Runner* runner = runner_of(blamed.runner)) runner->blame = blamed.blame;
}

void Dispatcher::on(const event::RunnerGone& gone, TimePoint now) {
  Runner* runner = runner_of(gone.runner);
  if (!runner) return;
  Model& model = *runner->model;
  model.runner = nullptr;
  switch (runner->state) {
    case RunnerState::kStopping:
      break;
    case RunnerState::kLoading:
      if (model.load_failures + 1 < kLoadDeathsMax)
        ++model.load_failures;
      else
        load_ended(*runner, internal(fmt::format("llama runner process has terminated: {}", gone.how)), false, now);
      break;
    case RunnerState::kServing:
    case RunnerState::kGrowing:
    case RunnerState::kDraining:
      model.last_error = gone.how;
      crashed(*runner, gone.blame, now);
      break;
  }
  runners_.erase(gone.runner);
  touch(model);
  settle(now);
}

// The runner is of no more use. Each of its requests is replayed, or fails if it cannot be; the model starts again, at
// once after a first crash and later and later after more of them without a success between.
void Dispatcher::crashed(Runner& runner, const Blame& blame, TimePoint now) {
  Model& model = *runner.model;
  ++model.crashes;
  model.restart_at = model.crashes == 1 ? now : later(now, backoff(config_.crash_backoff_first, model.crashes - 1));
  const std::vector<Request*> running = std::exchange(runner.running, {});
  const Request* culprit = find_culprit(running, blame);
  for (Request* request : running) {
    const bool canceled = request->phase == RequestPhase::kCanceling;
    if (canceled || request->output_sent || request == culprit || shutting_down_) {
      model.queue.end(request->waiter, FairQueue::Ending::kCanceled, now);
      if (!canceled) act(Fail{request->waiter.request, internal(kCrashText), std::nullopt});
      forget(*request);
    } else {
      enqueue(*request, now);
      model.queue.put_back(request->waiter, now);
    }
  }
  touch(model);
}

// Whose fault the end of a runner is that ran these; nullptr: nobody's, or it cannot be told, and then those that it
// may be are suspects from now on.
Dispatcher::Request* Dispatcher::find_culprit(const std::vector<Request*>& running, const Blame& blame) {
  for (Request* request : running)
    if (!blame.from_outside && request->waiter.request == blame.request) return request;
  // It was killed, or was at work for a request that has ended.
  const bool by_others = blame.from_outside || blame.request != RequestId{};
  if (running.size() == 1) {
    Request* alone = running.front();
    const bool too_often = by_others && ++alone->killed_alone >= kKilledAloneMax;
    return !by_others || too_often ? alone : nullptr;
  }
  for (Request* request : running)
    if (!by_others || ++request->killed_beside >= kKilledBesideMax) request->suspect = true;
  return nullptr;
}

Duration Dispatcher::backoff(Duration first, int failures) const {
  Duration pause = first;
  for (int i = 1; i < failures && pause < config_.backoff_max; ++i) pause *= 2;
  return std::min(pause, config_.backoff_max);
}

// When the runner counts as stuck if nothing is heard of it until then.
TimePoint Dispatcher::fault_due(const Runner& runner) const {
  switch (runner.state) {
    case RunnerState::kLoading:
      return config_.load_timeout > Duration::zero() ? later(runner.progress_at, config_.load_timeout) : kNever;
    case RunnerState::kServing:
    case RunnerState::kGrowing:
    case RunnerState::kDraining:
      if (runner.running.empty() || config_.hang_timeout <= Duration::zero()) return kNever;
      return later(runner.progress_at, config_.hang_timeout);
    case RunnerState::kStopping:
      return kNever;
  }
  return kNever;
}

void Dispatcher::check_fault(Runner& runner, TimePoint now) {
  if (fault_due(runner) > now) return;
  if (runner.state == RunnerState::kLoading) {
    const auto silent = std::chrono::duration<double>(now - runner.progress_at).count();
    stop(runner, StopReason::kLoadStalled);
    load_ended(runner,
               internal(fmt::format("timed out waiting for llama runner to start - no progress for {:.0f}s at {:.0f}%",
                                    silent, runner.load_fraction * 100)),
               false, now);
  } else {
    runner.model->last_error = "model runner made no progress";
    stop(runner, StopReason::kHung);
    crashed(runner, runner.blame, now);
  }
}

}  // namespace drover
