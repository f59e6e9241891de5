// What the fleet tells of itself: which models and requests there are.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "fleet/fleet.h"
#include "fleet/observer.h"
#include "fleet/pins.h"
#include "fleet/request_table.h"
#include "fleet/runner.h"
#include "policy/dispatcher.h"

namespace drover {

std::size_t Fleet::position(RequestId request) const {
  return dispatcher_->position(request);
}
std::size_t Fleet::waiting() const {
  return dispatcher_->waiting();
}
std::size_t Fleet::in_flight() const {
  return requests_->size();
}
const Metrics& Fleet::metrics() const {
  return requests_->metrics();
}
const History& Fleet::history() const {
  return observer_->history();
}
const std::optional<Advice>& Fleet::advice() const {
  return observer_->advice();
}

Duration Fleet::retry_after(const std::string& key) const {
  const ServedModel* model = models_.find(key);
  if (model == nullptr) return std::chrono::seconds(1);
  return dispatcher_->retry_after(model->id, Clock::now());
}

std::string Fleet::why_not_ready() const {
  if (shutting_down_) return "shutting down";
  if (settings_.queue_max > 0 && dispatcher_->queued() >= settings_.queue_max) return "the queue is full";
  if (const ModelTarget* missing = pins_->first_missing()) return missing->name + " is not loaded yet";
  return {};
}

std::string Fleet::retry_after_seconds(std::optional<Duration> wait) {
  const double seconds = to_seconds(wait.value_or(std::chrono::seconds(1)));
  return std::to_string(std::max(1, static_cast<int>(std::ceil(seconds))));
}

// ---- those that have not ended

std::vector<RequestStatus> Fleet::requests() const {
  const TimePoint now = Clock::now();
  const std::vector<RequestView> requests = dispatcher_->requests();
  const std::vector<ModelView> models = dispatcher_->models();
  std::vector<RequestStatus> all;
  all.reserve(requests.size());
  // The requests of one model stand together.
  for (auto first = requests.begin(); first != requests.end();) {
    const auto last =
        std::find_if(first, requests.end(), [&](const RequestView& r) { return r.model != first->model; });
    const auto view =
        std::find_if(models.begin(), models.end(), [&](const ModelView& m) { return m.model == first->model; });
    if (view != models.end()) {
      const std::vector<RequestStatus> some = requests_of(*view, {first, last}, now);
      all.insert(all.end(), some.begin(), some.end());
    }
    first = last;
  }
  return all;
}

std::vector<RequestStatus> Fleet::requests_of(const ModelView& view, std::span<const RequestView> requests,
                                              TimePoint now) const {
  using Phase = RequestStatus::Phase;
  const ServedModel& model = models_.at(view.model);
  std::vector<RunningService> running;
  std::vector<ServiceLimits> waiting;
  std::vector<RequestStatus> all;
  for (const RequestView& request : requests) {
    const RequestTable::Entry* found = requests_->find(request.request);
    if (found == nullptr) continue;
    const RequestTable::Entry& entry = *found;
    RequestStatus& status = all.emplace_back();
    status.record = &entry.record;
    status.age = now - entry.record.arrived;
    status.position = request.position;
    if (request.phase == RequestPhase::kWaiting) {
      status.phase = view.state == ModelState::kLoading ? Phase::kLoading : Phase::kQueued;
      waiting.push_back(limits_of(entry.frame));
      continue;
    }
    const bool answered = entry.record.first_output != TimePoint{};
    RunningService& service = running.emplace_back();
    service.limits = limits_of(entry.frame);
    service.elapsed = now - entry.slot_since;
    if (answered) service.output = now - entry.record.first_output;
    service.tokens = entry.record.output_tokens;
    if (request.phase == RequestPhase::kCanceling) {  // it ends with this step
      service.limits.tokens = 0;
      service.output = service.output.value_or(Duration::zero());
    }
    status.phase = request.phase == RequestPhase::kCanceling ? Phase::kCanceling
                   : answered                                ? Phase::kGenerating
                                                             : Phase::kPrefill;
  }
  // How long a model takes that is not even loading yet, nobody knows.
  const auto runner = runners_.find(view.runner);
  const bool loading = view.state == ModelState::kLoading && model.last_load > Duration::zero();
  if (runner == runners_.end() || (view.state != ModelState::kLoaded && !loading)) return all;
  const Duration load_left =
      loading ? std::max(model.last_load - (now - runner->second->started()), Duration::zero()) : Duration::zero();
  const int slots = view.slots > 0 ? view.slots : std::max(settings_.parallel, 1);
  const auto waits = estimate_waits(model.services, slots, running, load_left, waiting);
  for (RequestStatus& status : all) {
    if (waits && status.position > 0 && status.position <= waits->size()) status.wait = (*waits)[status.position - 1];
  }
  return all;
}

// ---- models

std::vector<LoadedModelView> Fleet::loaded() const {
  std::vector<LoadedModelView> views;
  for (const ModelView& state : dispatcher_->models()) {
    LoadedModelView& view = views.emplace_back();
    view.state = state;
    const ModelTarget& target = models_.at(state.model).target;
    view.key = target.key;
    view.embedding = target.embedding;
    view.name = target.name;
    view.manifest_digest = target.manifest_digest;
    const auto found = runners_.find(state.runner);
    if (found != runners_.end()) found->second->describe(view);
  }
  return views;
}

// For the model if it is not loaded; else for one slot more: the second one brings a second context's worth of cells,
// and all others share those two.
std::uint64_t Fleet::memory_for_more(const LoadedModelView& view) const {
  const ServedModel* model = models_.find(view.key);
  if (model == nullptr || !model->target.estimate) return 0;
  const auto& estimate = model->target.estimate;
  const int context = view.state.context_length > 0 ? view.state.context_length : context_default(settings_);
  if (view.state.state == ModelState::kUnloaded) return estimate(context);
  if (view.state.slots > 1) return 0;
  const std::uint64_t one = estimate(context);
  const std::uint64_t two = estimate(2 * std::min(context, 1 << 29));
  return two - std::min(one, two);
}

// ---- why

void Fleet::perform(const Explanation& why) {
  const std::string& model = models_.at(why.model).target.name;
  const std::string other = why.other ? " (for " + models_.at(*why.other).target.name + ")" : "";
  if (why.request == RequestId{}) {
    spdlog::debug("{} {}{}", model, why.text, other);
  } else if (const auto* entry = requests_->find(why.request)) {
    spdlog::debug("request {} for {} {}{}", entry->record.identity.id, model, why.text, other);
  }
}

}  // namespace drover
