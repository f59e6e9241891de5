#include "policy/dispatcher.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"

namespace drover {

namespace {

constexpr Duration kRetryAfterMin = std::chrono::seconds(1);
constexpr Duration kRetryAfterMax = std::chrono::seconds(60);

std::string gibibytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1u << 30));
}

// How long a request may wait; zero: for ever.
Duration wait_allowed(const Arrival& arrival, Duration request_timeout) {
  if (!arrival.timeout) return request_timeout;
  // Zero means no limit only in the setting: a client that may wait no time at all may not wait.
  const Duration own = std::max(*arrival.timeout, Duration(1));
  return request_timeout > Duration::zero() ? std::min(own, request_timeout) : own;
}

}  // namespace

Dispatcher::Dispatcher(DispatcherConfig config) : config_(config) {
  config_.loaded_models_max = std::max(config_.loaded_models_max, 1);
  config_.slots = std::max(config_.slots, 1);
}

ModelNeeds Dispatcher::Model::needs() const {
  ModelNeeds needs = last_needs;
  if (!memory_needs.empty()) needs.memory_bytes = *memory_needs.rbegin();
  if (!context_needs.empty()) needs.context_length = *context_needs.rbegin();
  return needs;
}

bool Dispatcher::Refusal::applies_to(const ModelNeeds& other) const {
  if (!memory || other.memory_bytes >= needs.memory_bytes) return true;
  return needs.context_length > 0 && other.context_length >= needs.context_length;
}

std::vector<Action> Dispatcher::apply(const Event& event, TimePoint now) {
  std::visit([&](const auto& what) { on(what, now); }, event);
  return std::exchange(actions_, {});
}

// ---- what clients do

// Why a request is not taken in; nullopt: it is.
std::optional<Error> Dispatcher::refusal_of(const Arrival& arrival, Model& model, TimePoint now) const {
  if (!is_served(model, arrival.needs)) {
    if (auto room = check_room(model, arrival.needs); !room) return room.error();
    if (model.refusal && model.refusal->until > now && model.refusal->applies_to(arrival.needs))
      return model.refusal->error;
  }
  if (!starts_at_once(model, arrival) && !finds_room_to_wait(model))
    return Error{ErrorCode::kQueueFull, "server busy, please try again.  maximum pending requests exceeded"};
  return std::nullopt;
}

void Dispatcher::on(const event::Admit& admit, TimePoint now) {
  const Arrival& arrival = admit.arrival;
  DROVER_CHECK(!requests_.contains(arrival.request));
  if (shutting_down_) return act(Refuse{arrival.request, {ErrorCode::kUnavailable, "server is shutting down"}});
  Model& model = model_of(arrival.model);
  if (auto refusal = refusal_of(arrival, model, now)) return act(Refuse{arrival.request, *std::move(refusal)});
  model.pinned = arrival.needs.pinned;
  Request& request = requests_[arrival.request];
  request.waiter.request = arrival.request;
  request.waiter.client = arrival.client;
  request.waiter.weight = arrival.client_weight;
  request.waiter.priority = arrival.priority;
  request.waiter.sequence = ++arrivals_;
  request.waiter.arrived = now;
  request.model = &model;
  request.needs = arrival.needs;
  request.timeout = wait_allowed(arrival, config_.request_timeout);
  request.keep_alive = arrival.keep_alive;
  request.load_only = arrival.load_only;
  enqueue(request, now);
  if (request.load_only)
    model.load_only.emplace(request.waiter.sequence, &request);
  else
    model.queue.push(request.waiter, now);
  settle(now);
  if (config_.explain && requests_.contains(arrival.request) && request.phase == RequestPhase::kWaiting)
    explain(model, arrival.request, [&] { return why_waiting(request); });
}

void Dispatcher::on(const event::Cancel& cancel, TimePoint now) {
  const auto it = requests_.find(cancel.request);
  if (it == requests_.end()) return;
  Request& request = it->second;
  switch (request.phase) {
    case RequestPhase::kWaiting:
      dequeue(request, now);
      forget(request);
      settle(now);
      break;
    case RequestPhase::kRunning:
      request.phase = RequestPhase::kCanceling;
      act(CancelOnRunner{cancel.request, request.runner->id});
      break;
    case RequestPhase::kCanceling:
      break;
  }
}

void Dispatcher::on(const event::Unload& unload, TimePoint now) {
  const auto it = models_.find(unload.model);
  if (it == models_.end()) return;
  Model& model = it->second;
  if (model.runner && model.runner->state != RunnerState::kStopping) model.unload_asked = true;
  model.resident = false;
  touch(model);
  settle(now);
}

void Dispatcher::on(const event::Shutdown&, TimePoint now) {
  if (shutting_down_) return;
  shutting_down_ = true;
  for (auto& [id, model] : models_) {
    model.resident = false;
    for (Request* request : waiting_of(model))
      fail(*request, {ErrorCode::kUnavailable, "server is shutting down"}, std::nullopt, now);
    touch(model);
  }
  settle(now);
}

void Dispatcher::on(const event::MemoryBound& bound, TimePoint now) {
  config_.memory_bytes_max = bound.bytes;
  settle(now);
}

// ---- requests

Dispatcher::Model& Dispatcher::model_of(ModelId id) {
  const auto it = models_.find(id);
  if (it != models_.end()) return it->second;
  if (models_.size() >= kModelsRememberedMax) forget_unused_models();
  return models_.try_emplace(id, id, config_.low_ageing).first->second;
}

void Dispatcher::forget_unused_models() {
  std::erase_if(models_, [](const auto& entry) {
    const Model& model = entry.second;
    return model.runner == nullptr && !model.wanted() && !model.touched;
  });
}

// Refuses what could not be loaded even if everything that may leave memory left it.
Result<void> Dispatcher::check_room(const Model& model, const ModelNeeds& needs) const {
  const Room need = room_for(needs.memory_bytes);
  if (!total_room().holds(need))
    return Error{ErrorCode::kNoSpace, fmt::format("model requires more system memory ({}) than is available ({})",
                                                  gibibytes(needs.memory_bytes), gibibytes(config_.memory_bytes_max))};
  if (!room_beside_pinned(model).holds(need))
    return Error{ErrorCode::kUnavailable, "model does not fit into memory beside the pinned models"};
  return {};
}

// The model is loaded, and large enough.
bool Dispatcher::is_served(const Model& model, const ModelNeeds& needs) const {
  return model.runner && model.runner->state == RunnerState::kServing && model.runner->serves(needs.context_length);
}

bool Dispatcher::starts_at_once(const Model& model, const Arrival& arrival) const {
  if (!is_served(model, arrival.needs)) return false;
  return arrival.load_only ||
         (model.queue.empty() && static_cast<int>(model.runner->running.size()) < model.runner->slots &&
          !model.runner->is_isolated());
}

// How many are queued if one more waits for `one_more`, or if nobody does. Those that find a slot free once their
// model is in memory are waiting for the load and not for each other. They are covered as far as their models can be in
// memory together, beside those that are busy now.
std::size_t Dispatcher::queued_with(const Model* one_more) const {
  std::size_t covered = 0;       // where others run
  std::size_t covered_idle = 0;  // where nobody runs
  std::size_t busy = 0;
  for (const auto& [id, model] : models_) {
    const Runner* runner = model.runner;
    const auto slots = static_cast<std::size_t>(runner && runner->slots > 0 ? runner->slots : config_.slots);
    const std::size_t running = runner ? runner->running.size() : 0;
    const std::size_t waiting = model.waiting() + (&model == one_more ? 1 : 0);
    const std::size_t with_slot = std::min(waiting, slots - std::min(slots, running));
    (running > 0 ? covered : covered_idle) += with_slot;
    if (running > 0) ++busy;
  }
  const auto loaded_max = static_cast<std::size_t>(config_.loaded_models_max);
  const std::size_t models_to_come = loaded_max - std::min(loaded_max, busy);
  covered += std::min(covered_idle, models_to_come * static_cast<std::size_t>(config_.slots));
  return waiting_ + (one_more ? 1 : 0) - covered;
}

bool Dispatcher::finds_room_to_wait(const Model& model) const {
  if (waiting_ < config_.waiting_max) return true;
  const std::size_t then = queued_with(&model);
  return then <= config_.waiting_max || then <= queued();
}

// Begins a wait. The caller puts the request into its queue.
void Dispatcher::enqueue(Request& request, TimePoint now) {
  Model& model = *request.model;
  ++waiting_;
  request.phase = RequestPhase::kWaiting;
  request.runner = nullptr;
  request.deadline = request.timeout > Duration::zero() ? later(now, request.timeout) : kNever;
  if (request.deadline != kNever) deadlines_.emplace(request.deadline, request.waiter.request);
  model.memory_needs.insert(request.needs.memory_bytes);
  model.context_needs.insert(request.needs.context_length);
  touch(model);
}

// Takes a waiting request out of its queue and ends its wait.
void Dispatcher::dequeue(Request& request, TimePoint now) {
  if (request.load_only)
    request.model->load_only.erase(request.waiter.sequence);
  else
    request.model->queue.remove(request.waiter, now);
  leave_queue(request);
}

// Ends a wait. The caller has taken the request out of its queue.
void Dispatcher::leave_queue(Request& request) {
  Model& model = *request.model;
  --waiting_;
  deadlines_.erase({request.deadline, request.waiter.request});
  model.memory_needs.erase(model.memory_needs.find(request.needs.memory_bytes));
  model.context_needs.erase(model.context_needs.find(request.needs.context_length));
  touch(model);
}

void Dispatcher::forget(Request& request) {
  const RequestId id = request.waiter.request;
  requests_.erase(id);
}

// Ends a waiting request with an error.
void Dispatcher::fail(Request& request, Error error, std::optional<Duration> retry, TimePoint now) {
  dequeue(request, now);
  act(Fail{request.waiter.request, std::move(error), retry});
  forget(request);
}

std::vector<Dispatcher::Request*> Dispatcher::waiting_of(const Model& model) {
  std::vector<Request*> waiting;
  for (const RequestId id : order_of(model)) waiting.push_back(&requests_.at(id));
  return waiting;
}

std::string Dispatcher::why_waiting(const Request& request) const {
  const Model& model = *request.model;
  const Runner* runner = model.runner;
  std::string why = "its model is not in memory";
  if (runner == nullptr && model.restart_at > now_) {
    why = "its model's runner ended more than once and is not started again yet";
  } else if (runner == nullptr && model.want) {
    why = fmt::format("its model is not in memory and waits for {} of it", gibibytes(model.needs().memory_bytes));
  } else if (runner != nullptr && runner->state == RunnerState::kLoading) {
    why = "its model is loading";
  } else if (runner != nullptr && runner->state == RunnerState::kServing && runner->is_isolated()) {
    why = "a request that may have ended its model's runner is replayed alone";
  } else if (runner != nullptr && runner->state == RunnerState::kServing) {
    why = fmt::format("all slots of its model are taken ({})", runner->slots);
  } else if (runner != nullptr && runner->state == RunnerState::kGrowing) {
    why = fmt::format("its model is being loaded again for a context of {} tokens", *model.context_needs.rbegin());
  } else if (runner != nullptr && runner->state == RunnerState::kDraining) {
    why = "another model has its turn for this memory";
  } else if (runner != nullptr) {
    why = "its model is being unloaded and then loaded again";
  }
  return fmt::format("waits, {} in all for this model: {}", model.waiting(), why);
}

std::vector<RequestId> Dispatcher::order_of(const Model& model) const {
  std::vector<RequestId> order;
  for (const auto& [sequence, request] : model.load_only) order.push_back(request->waiter.request);
  for (const FairQueue::Waiter* waiter : model.queue.order()) order.push_back(waiter->request);
  return order;
}

// ---- views

std::vector<ModelView> Dispatcher::models() const {
  std::vector<ModelView> views;
  for (const auto& [id, model] : models_) {
    ModelView view = view_of(model);
    if (view.state != ModelState::kUnloaded || view.waiting > 0) views.push_back(std::move(view));
  }
  return views;
}

ModelView Dispatcher::view_of(const Model& model) const {
  ModelView view;
  view.model = model.id;
  view.waiting = model.waiting();
  const TimePoint refused_until = model.refusal ? model.refusal->until : TimePoint{};
  const TimePoint retry_at = std::max(refused_until, model.wanted() ? model.restart_at : TimePoint{});
  if (const Runner* runner = model.runner) {
    switch (runner->state) {
      case RunnerState::kLoading:
        view.state = ModelState::kLoading;
        break;
      case RunnerState::kServing:
        view.state = ModelState::kLoaded;
        break;
      case RunnerState::kGrowing:
      case RunnerState::kDraining:
        view.state = ModelState::kDraining;
        break;
      case RunnerState::kStopping:
        view.state = ModelState::kStopping;
        break;
    }
    view.runner = runner->id;
    view.slots = runner->slots;
    view.running = static_cast<int>(runner->running.size());
    view.context_length = runner->context_length;
    view.memory_bytes = runner->memory_bytes;
    view.load_fraction = runner->load_fraction;
    view.keep_alive = runner->keep_alive;
    view.expires = expiry(*runner);
  } else if (retry_at > now_) {
    view.state = ModelState::kBackoff;
    view.last_error = model.last_error;
    view.retry_at = retry_at;
  }
  return view;
}

bool Dispatcher::is_in_memory(ModelId id) const {
  const auto it = models_.find(id);
  return it != models_.end() && it->second.runner != nullptr;
}

int Dispatcher::busy_runners() const {
  const auto busy = [](const auto& runner) { return !runner.second.running.empty(); };
  return static_cast<int>(std::count_if(runners_.begin(), runners_.end(), busy));
}

std::vector<RequestView> Dispatcher::requests() const {
  std::vector<RequestView> views;
  const auto add = [&](const Request& request, std::size_t position) {
    views.push_back({request.waiter.request, request.model->id, request.waiter.client, request.waiter.priority,
                     request.phase, position, request.waiter.arrived});
  };
  for (const auto& [id, model] : models_) {
    if (model.runner)
      for (const Request* request : model.runner->running) add(*request, 0);
    std::size_t position = 0;
    for (const RequestId request : order_of(model)) add(requests_.at(request), ++position);
  }
  return views;
}

std::size_t Dispatcher::position(RequestId id) const {
  const auto it = requests_.find(id);
  if (it == requests_.end() || it->second.phase != RequestPhase::kWaiting) return 0;
  const Request& request = it->second;
  const auto& load_only = request.model->load_only;
  if (!request.load_only) return load_only.size() + request.model->queue.position(request.waiter);
  if (load_only.rbegin()->second == &request) return load_only.size();  // it has just come
  const auto place = load_only.find(request.waiter.sequence);
  return static_cast<std::size_t>(std::distance(load_only.begin(), place)) + 1;
}

Duration Dispatcher::retry_after(ModelId id, TimePoint now) const {
  Duration estimate = kRetryAfterMin;
  if (const auto it = models_.find(id); it != models_.end()) {
    const Model& model = it->second;
    const int slots = model.runner && model.runner->slots > 0 ? model.runner->slots : config_.slots;
    const auto ahead = static_cast<std::int64_t>(model.queue.size()) + 1;
    const double wait = static_cast<double>(model.queue.mean_service().count()) * static_cast<double>(ahead) / slots;
    estimate = Duration(static_cast<std::int64_t>(std::min(wait, static_cast<double>(kRetryAfterMax.count()))));
    if (model.refusal && model.refusal->until > now) estimate = model.refusal->until - now;
  }
  return std::clamp(estimate, kRetryAfterMin, kRetryAfterMax);
}

}  // namespace drover
