// What must hold of all requests, models and runners after each event, and at the end.
#include <fmt/core.h>

#include <algorithm>

#include "dispatch_sim_checker.h"

namespace drover::sim {

namespace {

// Positions up to here are exact; beyond it they may also be the last place.
constexpr std::size_t kPositionsTold = 256;
constexpr std::size_t kPositionsAll = 32;
constexpr std::size_t kPositionsEvery = 16;

}  // namespace

void Checker::check_requests(TimePoint now) {
  for (const RequestId id : touched_) {
    const auto it = requests_.find(id);
    if (it == requests_.end()) continue;
    if (it->second.lost_now) return broken("a request that cannot be replayed is not told");
    if (it->second.cancel_now) return broken("a runner is not told that a client has left");
  }
  if (admitted_now_) {
    const auto it = requests_.find(admitted_now_->first);
    const bool waits = it != requests_.end() && it->second.phase == Phase::kWaiting;
    if (waits && !admitted_now_->second) return broken("the queue is over its bound");
  }
  if (!deadlines_.empty() && (*deadlines_.begin() < now || (ticked_ && *deadlines_.begin() == now)))
    broken("a request waits past its deadline");
}

void Checker::check_models(const Dispatcher& dispatcher, TimePoint now) {
  if (traits_.compare_views && (dispatcher.waiting() != waiting_ || dispatcher.queued() != queued_with({}, 0)))
    return broken("the count of those that wait is wrong");
  for (const auto& [id, model] : models_) {
    if (shutting_down_ && model.waiting > 0) return broken("somebody waits after a shutdown");
    if (!model.runner) continue;
    const Runner& runner = runners_.at(*model.runner);
    if (runner.stopping) continue;
    if (runner.loaded) {
      check_serving(id, model, runner, now);
      continue;
    }
    if (model.waiting == 0 && !model.resident) return broken("a load goes on that nobody waits for");
    if (config_.load_timeout > Duration::zero() && now > later(runner.progress_at, config_.load_timeout))
      return broken("a load stalls and is not stopped");
  }
}

// A runner that drained before this event and still does has got no request in it. One that is to grow is shown as
// draining too, and may serve again and drain in one event: it is left out.
void Checker::check_drains(const Dispatcher& dispatcher) {
  const bool wanted = std::any_of(models_.begin(), models_.end(), [&](const auto& one) { return lacks(one.second); });
  std::set<RunnerId> draining;
  for (const ModelView& view : wanted ? dispatcher.models() : std::vector<ModelView>()) {
    const auto it = runners_.find(view.runner);
    if (view.state != ModelState::kDraining || it == runners_.end()) continue;
    const std::multiset<int>& contexts = models_[view.model].contexts;
    if (contexts.empty() || it->second.serves(*contexts.rbegin())) draining.insert(view.runner);
  }
  for (const RunnerId id : given_now_)
    if (draining_.contains(id) && draining.contains(id)) return broken("a runner that drains gets another request");
  draining_ = std::move(draining);
}

bool Checker::runs_suspect(const Runner& runner) const {
  return std::any_of(runner.running.begin(), runner.running.end(),
                     [&](RequestId id) { return requests_.at(id).suspect; });
}

void Checker::check_serving(ModelId id, const Model& model, const Runner& runner, TimePoint now) {
  const bool slot_free = static_cast<int>(runner.running.size()) < runner.info.slots;
  if ((slot_free && model.waiting_for_slot > 0) || model.waiting > model.waiting_for_slot) {
    const bool grows = !runner.serves(*model.contexts.rbegin());
    const bool turn_is_over = others_lack(id) && now >= runner.loaded_at + config_.residence_min && !model.pinned;
    const bool isolates = runs_suspect(runner) || (model.suspects_waiting > 0 && !runner.running.empty());
    if (!grows && !turn_is_over && !isolates) return broken("a request waits while its model has a free slot");
    if (runner.running.empty()) return broken("a runner has nothing to do, is waited for, and stays");
  }
  if (!runner.running.empty()) {
    if (config_.hang_timeout > Duration::zero() && now > later(runner.progress_at, config_.hang_timeout))
      broken("a runner hangs and is not stopped");
  } else if (model.waiting == 0) {
    if (shutting_down_) broken("an idle runner stays after a shutdown");
    if (model.unload_asked) broken("an idle model is not unloaded though it was asked for");
    if (!model.pinned && runner.keep_alive >= Duration::zero() && now > later(runner.last_used, runner.keep_alive))
      broken("an idle model stays for longer than it was asked to");
  }
}

bool Checker::lacks(const Model& model) const {
  return (model.waiting > 0 || model.resident) && (!model.runner || runners_.at(*model.runner).stopping);
}

bool Checker::others_lack(ModelId id) const {
  for (const auto& [other, model] : models_)
    if (other != id && lacks(model)) return true;
  return false;
}

std::uint64_t Checker::memory_used(std::uint64_t Runner::*figure) const {
  std::uint64_t used = 0;
  for (const auto& [id, runner] : runners_) used += runner.*figure;
  return used;
}

bool Checker::over_bound(std::uint64_t Runner::*figure) const {
  return config_.memory_bytes_max > 0 && memory_used(figure) > config_.memory_bytes_max;
}

// A model that lacks memory gets it at once where there is enough, and in time where the world promises so.
void Checker::check_lack(const Dispatcher&, TimePoint now) {
  const Model* lacking = nullptr;
  int count = 0;
  for (auto& [id, model] : models_) {
    if (!lacks(model)) {
      model.lacks_since.reset();
      continue;
    }
    ++count;
    lacking = &model;
    if (!model.lacks_since) model.lacks_since = now;
    if (traits_.lack_max > Duration::zero() && now - *model.lacks_since > traits_.lack_max)
      return broken(fmt::format("model {} waits for memory for longer than the bound", id.value));
  }
  if (count != 1 || lacking->estimates.empty() || now < lacking->no_start_before) return;
  for (const auto& [id, runner] : runners_)
    if (runner.stopping) return;
  const std::uint64_t need = *lacking->estimates.rbegin() + lacking->estimate_error;
  const bool fits = config_.memory_bytes_max == 0 || memory_used(&Runner::claimed) + need <= config_.memory_bytes_max;
  if (fits && static_cast<int>(runners_.size()) < config_.loaded_models_max)
    broken("a model is not loaded though there is room");
}

void Checker::check_views(const Dispatcher& dispatcher) {
  const std::vector<RequestView> views = dispatcher.requests();
  if (views.size() != requests_.size()) return broken("the view of requests is not complete");
  std::map<ModelId, std::size_t> next;
  for (const RequestView& view : views) {
    const auto it = requests_.find(view.request);
    if (it == requests_.end()) return broken("the view shows a request that has left");
    const bool waits = it->second.phase == Phase::kWaiting;
    if (waits != (view.phase == RequestPhase::kWaiting)) return broken("the view shows a wrong phase");
    if (view.position != (waits ? ++next[view.model] : 0)) return broken("positions are not 1, 2, 3");
    // To be told one costs as much as to serve those before it: of a long queue some are asked for.
    if (view.position > kPositionsAll && view.position % kPositionsEvery != 0) continue;
    const std::size_t told = dispatcher.position(view.request);
    const bool last = view.position > kPositionsTold && told == models_[view.model].waiting;
    if (told != view.position && !last) return broken("two views of one position differ");
  }
  for (const ModelView& view : dispatcher.models()) {
    const Model& model = models_[view.model];
    if (view.waiting != model.waiting) return broken("the view of a model counts wrongly");
    const std::size_t running = model.runner ? runners_.at(*model.runner).running.size() : 0;
    if (static_cast<std::size_t>(view.running) != running) return broken("the view of a model counts wrongly");
  }
}

void Checker::ended(const Dispatcher& dispatcher) {
  if (!requests_.empty()) broken(fmt::format("{} requests never got an outcome", requests_.size()));
  if (!runners_.empty()) broken(fmt::format("{} runners are left over", runners_.size()));
  if (dispatcher.waiting() != 0 || !dispatcher.requests().empty()) broken("the dispatcher still has requests");
  const Counts& c = counts_;
  if (c.admitted != c.finished + c.completed + c.canceled + c.failed + c.timed_out)
    broken("outcomes do not add up to requests");
}

}  // namespace drover::sim
