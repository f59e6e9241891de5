#include "dispatch_sim_checker.h"

#include <fmt/core.h>

#include <algorithm>

namespace drover::sim {

namespace {

// Views are as large as the queue, so they are compared once in so many events.
constexpr std::uint64_t kViewsEvery = 257;

// Whether a run of the given class may be passed by one of `other`'s class without being of less importance.
bool no_more_important(Priority other, Priority priority) {
  return static_cast<int>(other) >= static_cast<int>(priority);
}

}  // namespace

Checker::Counts& Checker::Counts::operator+=(const Counts& other) {
  admitted += other.admitted;
  refused += other.refused;
  finished += other.finished;
  completed += other.completed;
  canceled += other.canceled;
  failed += other.failed;
  timed_out += other.timed_out;
  replayed += other.replayed;
  loads += other.loads;
  evictions += other.evictions;
  turns_ended += other.turns_ended;
  grown += other.grown;
  hung += other.hung;
  visitors += other.visitors;
  poisoned += other.poisoned;
  alone += other.alone;
  return *this;
}

bool Checker::Runner::serves(int context) const {
  return context <= std::max(info.context_length, context_asked) || (loaded && info.context_length < context_asked);
}

Checker::Checker(const DispatcherConfig& config, const WorldTraits& traits) : config_(config), traits_(traits) {}

void Checker::broken(const std::string& what) {
  if (!violation_) violation_ = what;
}

// ---- what goes in

void Checker::admitted(const Arrival& arrival, const Result<void>& result, TimePoint now) {
  Model& model = models_[arrival.model];
  if (!result.ok()) {
    ++counts_.refused;
    const Error& error = result.error();
    const bool fits = arrival.needs.memory_bytes <= config_.memory_bytes_max || config_.memory_bytes_max == 0;
    bool pins = false;
    for (const auto& [id, other] : models_) pins = pins || (other.pinned && id != arrival.model);
    switch (error.code) {
      case ErrorCode::kQueueFull:
        if (may_queue(arrival.model)) broken("refused as full while there is room to wait");
        break;
      case ErrorCode::kUnavailable:
        if (!shutting_down_ && !pins) broken("refused as unavailable without a reason");
        break;
      case ErrorCode::kNoSpace:
        if (fits) broken("refused as too large although it fits");
        break;
      default:
        if (!model.load_failures && !model.memory_failed) broken("refused with an error that no load has had");
        break;
    }
    return;
  }
  ++counts_.admitted;
  if (shutting_down_) broken("admitted while shutting down");
  Request& request = requests_[arrival.request];
  request.arrival = arrival;
  request.sequence = ++arrivals_;
  arrived_[request.sequence] = now;
  admitted_now_.emplace(arrival.request, may_queue(arrival.model));
  model.pinned = arrival.needs.pinned;
  wait(request, now);
  if (model.clients_seen.insert(arrival.client).second && !arrival.load_only) {
    ++counts_.visitors;
    model.visitors.push_back({arrival.request, arrival.priority, events_, {}});
  }
}

// How many are queued: of those that wait for a model, and of `one_more` who comes for `id`, the ones that will find no
// slot free when it is in memory, or whose model has to wait for a busy one to leave.
std::size_t Checker::queued_with(ModelId id, std::size_t one_more) const {
  std::size_t queued = 0;
  std::size_t for_idle_models = 0;
  int idle_models_max = config_.loaded_models_max;
  for (const auto& [other, model] : models_) {
    const Runner* runner = model.runner ? &runners_.at(*model.runner) : nullptr;
    const auto slots = static_cast<std::size_t>(runner && runner->loaded ? runner->info.slots : config_.slots);
    const std::size_t running = runner ? runner->running.size() : 0;
    const std::size_t waiting = model.waiting + (other == id ? one_more : 0);
    const std::size_t find_slot = std::min(waiting, slots - std::min(slots, running));
    queued += waiting - find_slot;
    if (running == 0) for_idle_models += find_slot;
    if (running > 0) --idle_models_max;
  }
  const auto find_memory = static_cast<std::size_t>(std::max(idle_models_max, 0) * config_.slots);
  return queued + for_idle_models - std::min(for_idle_models, find_memory);
}

bool Checker::may_queue(ModelId id) const {
  const std::size_t then = queued_with(id, 1);
  return then <= config_.waiting_max || then == queued_with(id, 0);
}

void Checker::wait(Request& request, TimePoint now) {
  const Arrival& arrival = request.arrival;
  Model& model = models_[arrival.model];
  request.phase = Phase::kWaiting;
  Duration timeout = config_.request_timeout;
  if (arrival.timeout && (timeout <= Duration::zero() || *arrival.timeout < timeout)) timeout = *arrival.timeout;
  request.deadline = timeout > Duration::zero() ? later(now, timeout) : kNever;
  deadlines_.insert(request.deadline);
  ++waiting_;
  ++model.waiting;
  model.estimates.insert(arrival.needs.memory_bytes);
  model.contexts.insert(arrival.needs.context_length);
  if (request.suspect) ++model.suspects_waiting;
  if (!arrival.load_only) {
    ++model.waiting_for_slot;
    model.order[{arrival.client, arrival.priority}].insert(request.sequence);
  }
}

void Checker::stop_waiting(Request& request) {
  const Arrival& arrival = request.arrival;
  Model& model = models_[arrival.model];
  deadlines_.erase(deadlines_.find(request.deadline));
  --waiting_;
  --model.waiting;
  model.estimates.erase(model.estimates.find(arrival.needs.memory_bytes));
  model.contexts.erase(model.contexts.find(arrival.needs.context_length));
  if (request.suspect) --model.suspects_waiting;
  if (!arrival.load_only) {
    --model.waiting_for_slot;
    const auto flow = model.order.find({arrival.client, arrival.priority});
    flow->second.erase(request.sequence);
    if (flow->second.empty()) {
      std::erase_if(model.leads, [&](const auto& lead) {
        return lead.first.first == flow->first || lead.first.second == flow->first;
      });
      model.order.erase(flow);
    }
  }
  std::erase_if(model.visitors, [&](const Visitor& visitor) { return visitor.request == arrival.request; });
}

void Checker::canceled(RequestId id, TimePoint) {
  const auto it = requests_.find(id);
  if (it == requests_.end()) return;
  Request& request = it->second;
  if (request.phase == Phase::kWaiting) {
    ++counts_.canceled;
    stop_waiting(request);
    requests_.erase(it);
  } else if (request.phase == Phase::kRunning) {
    request.phase = Phase::kCanceling;
    request.cancel_now = true;
    touched_.insert(id);
  }
}

void Checker::unloaded(ModelId id, bool was_loaded) {
  Model& model = models_[id];
  if (was_loaded != model.runner.has_value()) broken("unload() is wrong about what is in memory");
  model.resident = false;
  if (model.runner && !runners_.at(*model.runner).stopping) model.unload_asked = true;
}

void Checker::load_progressed(RunnerId id, float fraction, TimePoint now) {
  const auto it = runners_.find(id);
  if (it == runners_.end() || it->second.loaded || fraction <= it->second.fraction) return;
  it->second.fraction = fraction;
  it->second.progress_at = now;
}

void Checker::loaded(const event::Loaded& info, TimePoint now) {
  const auto it = runners_.find(info.runner);
  if (it == runners_.end() || it->second.stopping) return;
  Runner& runner = it->second;
  Model& model = models_[runner.model];
  runner.loaded = true;
  runner.info = info;
  runner.memory = runner.claimed = info.memory_bytes;
  runner.loaded_at = runner.last_used = runner.progress_at = now;
  model.estimate_error = info.memory_bytes > runner.estimate ? info.memory_bytes - runner.estimate : 0;
  model.load_failures = 0;
  model.resident = model.pinned && !model.unload_asked && !shutting_down_;
}

void Checker::slots_changed(RunnerId id, int slots) {
  const auto it = runners_.find(id);
  if (it != runners_.end() && it->second.loaded && !it->second.stopping) it->second.info.slots = slots;
}

void Checker::load_failed(RunnerId id, const Error&, bool memory, TimePoint now) {
  const auto it = runners_.find(id);
  if (it == runners_.end() || it->second.stopping) return;
  Model& model = models_[it->second.model];
  it->second.stopping = true;
  it->second.failed = true;
  model.load_failed_now = model.ever_failed = true;
  if (memory)
    model.memory_failed = true;
  else
    load_ended(model, now);
}

void Checker::load_ended(Model& model, TimePoint now) {
  ++model.load_failures;
  model.load_failed_now = model.ever_failed = true;
  model.no_start_before = later(now, backoff(config_.load_backoff_first, model.load_failures));
}

Duration Checker::backoff(Duration first, int failures) const {
  Duration pause = first;
  for (int i = 1; i < failures && pause < config_.backoff_max; ++i) pause *= 2;
  return std::min(pause, config_.backoff_max);
}

void Checker::output_sent(RequestId id) {
  const auto it = requests_.find(id);
  if (it == requests_.end()) return;
  it->second.output_sent = true;
  it->second.suspect = false;
}

void Checker::finished(RequestId id, TimePoint now) {
  const auto it = requests_.find(id);
  if (it == requests_.end() || it->second.phase == Phase::kWaiting) {
    broken("the simulation ends a request that does not run");
    return;
  }
  Request& request = it->second;
  Runner& runner = runners_.at(request.runner);
  runner.running.erase(id);
  runner.last_used = runner.progress_at = now;
  account(models_[runner.model], request, now);
  if (request.phase == Phase::kRunning) {
    models_[runner.model].crashes = 0;
    ++counts_.finished;
  } else {
    ++counts_.canceled;
  }
  requests_.erase(it);
}

void Checker::progressed(RunnerId id, TimePoint now) {
  const auto it = runners_.find(id);
  if (it != runners_.end() && it->second.loaded) it->second.progress_at = now;
}

void Checker::blamed(RunnerId id, const Blame& blame, std::optional<RequestId> by) {
  Runner& runner = runners_.at(id);
  runner.blame = blame;
  runner.hung_by = by;
}

void Checker::gone(RunnerId id, TimePoint now, const Blame& blame, std::optional<RequestId> by) {
  const auto it = runners_.find(id);
  Runner& runner = it->second;
  Model& model = models_[runner.model];
  model.runner.reset();
  if (!runner.stopping && !runner.loaded) {
    // One more try is made, unless something was wrong before. How failures for lack of memory count is not checked.
    if (model.load_failures > 0 && !model.memory_failed) {
      load_ended(model, now);
    } else {
      ++model.load_failures;
      model.ever_failed = true;
      model.load_failed_now = model.memory_failed;
    }
  } else if (!runner.stopping) {
    lose(runner, blame, by, now);
  }
  runners_.erase(it);
}

// The runner is dead or taken for dead: what may be replayed waits again, the rest must fail now.
void Checker::lose(Runner& runner, const Blame& blame, std::optional<RequestId> by, TimePoint now) {
  Model& model = models_[runner.model];
  ++model.crashes;
  model.leads.clear();
  model.no_start_before =
      model.crashes == 1 ? now : later(now, backoff(config_.crash_backoff_first, model.crashes - 1));
  const bool certain = runner.running.size() == 1 || blame.request != RequestId{};
  const std::optional<RequestId> culprit = find_culprit(runner, blame);
  for (const RequestId id : runner.running) {
    Request& request = requests_.at(id);
    if (request.phase == Phase::kCanceling) {
      ++counts_.canceled;
      requests_.erase(id);
    } else if (request.output_sent || id == culprit || shutting_down_) {
      request.lost_now = true;
      touched_.insert(id);
    } else {
      ++counts_.replayed;
      ++request.replays;
      // What it did not get is given back to its client.
      for (Visitor& visitor : model.visitors)
        if (visitor.event < request.dispatched_event)
          --visitor.passed_by[{request.arrival.client, request.arrival.priority}];
      wait(request, now);
    }
  }
  runner.running.clear();
  if (by) check_poison(*by, certain);
}

// Whom the rules take for guilty; who may be is a suspect from now on.
std::optional<RequestId> Checker::find_culprit(const Runner& runner, const Blame& blame) {
  if (!blame.from_outside && runner.running.contains(blame.request)) return blame.request;
  const bool by_itself = !blame.from_outside && blame.request == RequestId{};
  const bool alone = runner.running.size() == 1;
  std::optional<RequestId> culprit;
  for (const RequestId id : runner.running) {
    Request& request = requests_.at(id);
    int& killed = alone ? request.killed_alone : request.killed_beside;
    const bool guilty = by_itself || ++killed >= 2;
    if (alone && by_itself && !poisons_.contains(id)) broken("an innocent request is taken for the culprit");
    if (guilty && alone) culprit = id;
    if (guilty && !alone) request.suspect = true;
  }
  return culprit;
}

// A poison ends one runner beside others if nobody knows whose fault it was, and one more at most.
void Checker::check_poison(RequestId poison, bool certain) {
  ++counts_.poisoned;
  const int ended = ++poisons_.at(poison);
  const auto it = requests_.find(poison);
  if (it != requests_.end() && it->second.phase == Phase::kWaiting && (certain || ended > 1))
    broken("a request that ended a runner is tried again");
}

// ---- what comes out

void Checker::acted(const std::vector<Action>& actions, const Dispatcher& dispatcher, TimePoint now) {
  ++events_;
  for (const Action& action : actions) {
    if (violation_) return;
    std::visit([&](const auto& one) { on(one, now); }, action);
  }
  if (violation_) return;
  check_requests(now);
  check_drains(dispatcher);
  check_models(dispatcher, now);
  check_lack(dispatcher, now);
  if (traits_.compare_views && events_ % kViewsEvery == 0) check_views(dispatcher);
  if (ticked_ && dispatcher.next_due() <= now) broken("tick() left something undone that is due");
  for (auto& [id, model] : models_) {
    model.load_failed_now = false;
    if (!model.runner && model.waiting == 0) model.unload_asked = false;
  }
  touched_.clear();
  given_now_.clear();
  admitted_now_.reset();
  ticked_ = false;
}

void Checker::on(const StartRunner& action, TimePoint now) {
  ++counts_.loads;
  Model& model = models_[action.model];
  if (model.runner) return broken("a model is started while it has a runner");
  if (shutting_down_) return broken("a model is started while shutting down");
  if (model.waiting == 0 && !model.resident) return broken("a model is started that nobody waits for");
  if (action.runner.value <= runners_started_) return broken("a runner's number is used twice");
  if (now < model.no_start_before) return broken("a model is started before its back-off is over");
  if (!model.contexts.empty() && action.context_length != *model.contexts.rbegin())
    return broken("a runner is not started for all that wait");
  runners_started_ = action.runner.value;
  Runner& runner = runners_[action.runner];
  runner.model = action.model;
  runner.context_asked = action.context_length;
  runner.estimate = runner.memory = model.estimates.empty() ? model.last_estimate : *model.estimates.rbegin();
  model.last_estimate = runner.estimate;
  runner.claimed = runner.estimate + model.estimate_error;
  runner.progress_at = now;
  model.runner = action.runner;
  model.lacks_since.reset();
  if (over_bound(&Runner::memory)) broken("a load takes the memory over its bound");
  if (static_cast<int>(runners_.size()) > config_.loaded_models_max) broken("more models in memory than allowed");
}

void Checker::on(const StopRunner& action, TimePoint now) {
  const auto it = runners_.find(action.runner);
  if (it == runners_.end() || it->second.stopping) return broken("a runner is stopped that is not there");
  Runner& runner = it->second;
  Model& model = models_[runner.model];
  check_stop(runner, model, action.reason, now);
  runner.stopping = true;
  if (model.waiting == 0) model.unload_asked = false;
  switch (action.reason) {
    case StopReason::kHung:
      ++counts_.hung;
      lose(runner, runner.blame, runner.hung_by, now);
      break;
    case StopReason::kLoadStalled:
      load_ended(model, now);
      break;
    case StopReason::kEvicted:
      ++(model.waiting > 0 ? counts_.turns_ended : counts_.evictions);
      break;
    case StopReason::kGrown:
      ++counts_.grown;
      break;
    default:
      break;
  }
}

void Checker::check_stop(Runner& runner, const Model& model, StopReason reason, TimePoint now) {
  const bool may_have_work = reason == StopReason::kHung;
  if (!may_have_work && !runner.running.empty()) return broken("a busy runner is stopped");
  const bool wants_loading = reason == StopReason::kAbandoned || reason == StopReason::kLoadStalled;
  if (reason != StopReason::kShutdown && runner.loaded == wants_loading)
    return broken("the reason of a stop does not fit the runner's state");
  switch (reason) {
    case StopReason::kIdle:
      if (model.waiting > 0 || model.pinned || runner.keep_alive < Duration::zero() ||
          later(runner.last_used, runner.keep_alive) > now)
        broken("a runner is taken for idle");
      break;
    case StopReason::kEvicted: {
      bool memory_failed = false;
      for (const auto& [id, other] : models_) memory_failed = memory_failed || other.load_failed_now;
      if (model.pinned) broken("a pinned model is evicted");
      if (!others_lack(runner.model) && !over_bound(&Runner::claimed) && !memory_failed)
        broken("a model is evicted for nobody");
      if (model.waiting > 0 && now < runner.loaded_at + config_.residence_min)
        broken("a model is evicted that is waited for, before its turn is over");
      break;
    }
    case StopReason::kAskedFor:
      if (!model.unload_asked || model.waiting > 0) broken("a model is unloaded that should not be");
      break;
    case StopReason::kHung:
      if (runner.running.empty() || now < runner.progress_at + config_.hang_timeout)
        broken("a runner is taken for hung");
      break;
    case StopReason::kLoadStalled:
      if (now < runner.progress_at + config_.load_timeout) broken("a load is taken for stalled");
      break;
    case StopReason::kAbandoned:
      if (model.waiting > 0) broken("a load is abandoned that somebody waits for");
      break;
    case StopReason::kGrown:
      if (model.contexts.empty() || runner.serves(*model.contexts.rbegin()))
        broken("a runner is grown that is large enough");
      break;
    case StopReason::kShutdown:
      if (!shutting_down_) broken("a runner is stopped for a shutdown that was not asked for");
      break;
  }
}

void Checker::on(const Dispatch& action, TimePoint now) {
  const auto it = requests_.find(action.request);
  if (it == requests_.end()) return broken("a request is dispatched that has left");
  Request& request = it->second;
  if (request.phase != Phase::kWaiting) return broken("a request is dispatched twice");
  if (request.arrival.load_only) return broken("a request is dispatched that wants no slot");
  if (request.deadline < now) return broken("a request is dispatched after its deadline");
  const auto found = runners_.find(action.runner);
  if (found == runners_.end()) return broken("a request is dispatched to a runner that is not there");
  Runner& runner = found->second;
  if (!runner.loaded || runner.stopping) return broken("a request is dispatched to a runner that is not ready");
  if (runner.model != request.arrival.model) return broken("a request is dispatched to another model");
  if (!runner.serves(request.arrival.needs.context_length)) return broken("a request is dispatched to a small runner");
  if (static_cast<int>(runner.running.size()) >= runner.info.slots) return broken("more requests run than slots are");
  if (runs_suspect(runner) || (request.suspect && !runner.running.empty()))
    return broken("a request runs beside one that may have ended a runner");
  if (request.suspect) ++counts_.alone;
  Model& model = models_[runner.model];
  const auto& order = model.order.at({request.arrival.client, request.arrival.priority});
  if (*order.begin() != request.sequence) return broken("a request overtakes another of its client and priority");
  check_shares(model, request, runner, now);
  stop_waiting(request);
  check_fairness(request);
  request.dispatched = now;
  request.dispatched_event = events_;
  request.phase = Phase::kRunning;
  request.runner = action.runner;
  if (runner.running.empty()) runner.progress_at = now;
  runner.running.insert(action.request);
  given_now_.insert(action.runner);
  runner.keep_alive = request.arrival.keep_alive;
  runner.last_used = now;
}

void Checker::check_fairness(const Request& request) {
  if (request.replays > 0) return;
  const FlowKey flow{request.arrival.client, request.arrival.priority};
  for (Visitor& visitor : models_[request.arrival.model].visitors)
    if (no_more_important(flow.second, visitor.priority) && ++visitor.passed_by[flow] > 1)
      return broken("a client passes a newcomer twice");
}

void Checker::on(const CancelOnRunner& action, TimePoint) {
  const auto it = requests_.find(action.request);
  if (it == requests_.end() || !it->second.cancel_now || it->second.runner != action.runner)
    return broken("a request is canceled whose client has not left");
  it->second.cancel_now = false;
}

void Checker::on(const Complete& action, TimePoint now) {
  const auto it = requests_.find(action.request);
  if (it == requests_.end() || it->second.phase != Phase::kWaiting) return broken("who is completed does not wait");
  Request& request = it->second;
  const auto& id = models_[request.arrival.model].runner;
  if (!request.arrival.load_only) return broken("a request is completed that wants a slot");
  if (!id || !runners_.at(*id).loaded || runners_.at(*id).stopping) return broken("completed without its model");
  Runner& runner = runners_.at(*id);
  if (!runner.serves(request.arrival.needs.context_length)) return broken("completed with too small a context");
  ++counts_.completed;
  runner.keep_alive = request.arrival.keep_alive;
  runner.last_used = now;
  stop_waiting(request);
  requests_.erase(it);
}

void Checker::on(const Refuse&, TimePoint) {
  broken("a request is refused that was not asked about");
}

void Checker::on(const Fail& action, TimePoint now) {
  const auto it = requests_.find(action.request);
  if (it == requests_.end()) return broken("a request fails that has left");
  Request& request = it->second;
  if (!may_fail(request, action, now))
    return broken(fmt::format("a request fails without a reason: {}", action.error.message));
  if (action.error.code == ErrorCode::kTimedOut) told_to_retry(request.arrival.model, *action.retry_after);
  ++(action.error.code == ErrorCode::kTimedOut ? counts_.timed_out : counts_.failed);
  if (request.phase == Phase::kWaiting) stop_waiting(request);
  requests_.erase(it);
}

bool Checker::may_fail(const Request& request, const Fail& action, TimePoint now) const {
  if (request.lost_now) return action.error.code == ErrorCode::kInternal;
  if (request.phase != Phase::kWaiting) return false;
  const Model& model = models_.at(request.arrival.model);
  switch (action.error.code) {
    case ErrorCode::kTimedOut:
      return request.deadline <= now && action.retry_after.has_value();
    case ErrorCode::kUnavailable: {
      bool pins = false;
      for (const auto& [id, other] : models_) pins = pins || (other.pinned && id != request.arrival.model);
      return shutting_down_ || pins;
    }
    case ErrorCode::kNoSpace:
      return request.arrival.needs.memory_bytes > config_.memory_bytes_max;
    default:
      return model.load_failed_now && action.retry_after.has_value();
  }
}

}  // namespace drover::sim
