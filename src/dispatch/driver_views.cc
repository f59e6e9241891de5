// What the driver tells: which models and requests there are, and a line in the log for each request that has ended.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>

#include "dispatch/driver_impl.h"
#include "dispatch/request_log.h"

namespace drover {
namespace {

Outcome outcome_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kCanceled:
      return Outcome::kCanceled;
    case ErrorCode::kQueueFull:
      return Outcome::kQueueFull;
    case ErrorCode::kTimedOut:
      return Outcome::kTimedOut;
    case ErrorCode::kUnavailable:
      return Outcome::kUnavailable;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kPromptTooLong:
    case ErrorCode::kNotKept:
    case ErrorCode::kNotFound:
    case ErrorCode::kTooLarge:
    case ErrorCode::kForbidden:
      return Outcome::kInvalid;
    case ErrorCode::kNoSpace:
      return Outcome::kNoSpace;
    case ErrorCode::kInternal:
      return Outcome::kFailed;
  }
  return Outcome::kFailed;
}

ServiceLimits limits_of(const pb::ToRunner& frame) {
  ServiceLimits limits;
  if (!frame.has_generate()) return limits;
  const pb::Generate& work = frame.generate();
  if (work.predict_max() >= 0) limits.tokens = work.predict_max();
  if (work.generation_ms_max() > 0) limits.time = std::chrono::milliseconds(work.generation_ms_max());
  return limits;
}

// By the runner's figures: a part of the answer, or all of it, may have been held back.
EndedService ended_service(Duration whole, const ServiceLimits& limits, const pb::Finished& finished) {
  EndedService service;
  service.output = std::min<Duration>(std::chrono::nanoseconds(finished.output_ns()), whole);
  service.until_output = whole - service.output;
  service.tokens = finished.output_tokens();
  if (finished.reason() != pb::Finished::LENGTH) return service;
  const bool below = !limits.tokens || service.tokens < *limits.tokens;
  service.end = below && limits.time ? ServiceEnd::kTimeLimit : ServiceEnd::kTokenLimit;
  return service;
}

}  // namespace

// ---- the end of a request

void DispatchDriver::note_end(Entry& entry, const RequestEvent& event, TimePoint now) {
  RequestRecord& record = entry.record;
  const auto* finished = std::get_if<pb::Finished>(&event);
  if (finished != nullptr) {
    // An answer that was held back as a whole comes with its end.
    if (finished->output_tokens() > 0 && record.first_output == TimePoint{}) entry.metrics->on_output(record, now);
    record.prompt_tokens = finished->prompt_tokens();
    record.cached_tokens = finished->cached_tokens();
    record.output_tokens = finished->output_tokens();
    record.parked = finished->parked();
  }
  // Whoever only wants to see the prompt goes once it has come.
  if (finished != nullptr && entry.frame.generate().render_only()) return note_end(record, Outcome::kStop, {}, now);
  if (entry.ticket == nullptr && entry.runner != RunnerId{}) return note_end(record, entry.leaving, {}, now);
  if (finished != nullptr) {
    const bool at_limit = finished->reason() == pb::Finished::LENGTH;
    entry.model->services.add(ended_service(now - entry.placed, limits_of(entry.frame), *finished));
    return note_end(record, at_limit ? Outcome::kLength : Outcome::kStop, {}, now);
  }
  const auto* failed = std::get_if<EventFailed>(&event);
  if (failed != nullptr) return note_end(record, outcome_of(failed->error.code), failed->error.message, now);
  if (const auto* embedded = std::get_if<pb::Embedded>(&event)) {
    record.prompt_tokens = embedded->prompt_tokens();
    entry.model->services.add({now - entry.placed, {}, 0, ServiceEnd::kByItself});
    return note_end(record, Outcome::kStop, {}, now);
  }
  note_end(record, Outcome::kLoaded, {}, now);
}

void DispatchDriver::note_end(RequestRecord& record, Outcome outcome, std::string error, TimePoint now) {
  record.ended = now;
  record.outcome = outcome;
  record.error = std::move(error);
  metrics_.of(record.model).on_ended(record);
  request_log_->info(request_line(record, settings_.log_format));
}

void DispatchDriver::note_refused(RequestIdentity identity, const Error& error) {
  RequestRecord record;
  record.identity = std::move(identity);
  record.arrived = Clock::now();
  note_end(record, outcome_of(error.code), error.message, record.arrived);
}

std::size_t DispatchDriver::cancel(std::string_view identity) {
  std::vector<RequestId> meant;
  for (const auto& [request, entry] : entries_) {
    if (entry->ticket != nullptr && entry->record.identity.id == identity) meant.push_back(request);
  }
  std::size_t canceled = 0;
  for (const RequestId request : meant) {
    const auto found = entries_.find(request);  // to cancel one may end others
    if (found == entries_.end() || found->second->ticket == nullptr) continue;
    found->second->leaving = Outcome::kCanceled;
    found->second->ticket->cancel();
    ++canceled;
  }
  return canceled;
}

// ---- those that have not ended

std::vector<RequestStatus> DispatchDriver::requests() const {
  const TimePoint now = Clock::now();
  const std::vector<RequestView> requests = dispatcher_.requests();
  const std::vector<ModelView> models = dispatcher_.models();
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

std::vector<RequestStatus> DispatchDriver::requests_of(const ModelView& view, std::span<const RequestView> requests,
                                                       TimePoint now) const {
  using Phase = RequestStatus::Phase;
  const Model& model = *models_by_id_.at(view.model.value);
  std::vector<RunningService> running;
  std::vector<ServiceLimits> waiting;
  std::vector<RequestStatus> all;
  for (const RequestView& request : requests) {
    const auto found = entries_.find(request.request);
    if (found == entries_.end()) continue;
    const Entry& entry = *found->second;
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
    service.elapsed = now - entry.placed;
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
      loading ? std::max(model.last_load - (now - runner->second->started), Duration::zero()) : Duration::zero();
  const int places = view.places > 0 ? view.places : std::max(settings_.parallel, 1);
  const auto waits = estimate_waits(model.services, places, running, load_left, waiting);
  for (RequestStatus& status : all) {
    if (waits && status.position > 0 && status.position <= waits->size()) status.wait = (*waits)[status.position - 1];
  }
  return all;
}

// ---- models

std::vector<LoadedModelView> DispatchDriver::loaded() const {
  std::vector<LoadedModelView> views;
  for (const ModelView& state : dispatcher_.models()) {
    LoadedModelView& view = views.emplace_back();
    view.state = state;
    const ModelTarget& target = models_by_id_.at(state.model.value)->target;
    view.key = target.key;
    view.embedding = target.embedding;
    const auto found = runners_.find(state.runner);
    if (found != runners_.end()) {
      view.name = found->second->name;
      view.manifest_digest = found->second->manifest_digest;
      view.memory_bytes = found->second->memory_bytes;
      view.device_bytes = found->second->device_bytes;
      view.kv = found->second->kv;
      view.parked = found->second->parked;
      view.notice = found->second->notice;
    } else {
      view.name = target.name;
      view.manifest_digest = target.manifest_digest;
    }
  }
  return views;
}

std::string DispatchDriver::why_not_ready() const {
  if (shutting_down_) return "shutting down";
  if (settings_.queue_max > 0 && dispatcher_.queued() >= settings_.queue_max) return "the queue is full";
  for (const auto& [key, pin] : pins_) {
    const bool loaded = pin.loaded || (pin.ticket != nullptr && pin.ticket->has_loaded());
    if (!loaded) return models_.at(key)->target.name + " is not loaded yet";
  }
  return {};
}

std::string DispatchDriver::retry_after_seconds(std::optional<Duration> wait) {
  const double seconds = std::chrono::duration<double>(wait.value_or(std::chrono::seconds(1))).count();
  return std::to_string(std::max(1, static_cast<int>(std::ceil(seconds))));
}

// ---- why

void DispatchDriver::log_explanations() {
  for (const Explanation& why : dispatcher_.take_explanations()) {
    const std::string& model = models_by_id_.at(why.model.value)->target.name;
    const std::string other = why.other ? " (for " + models_by_id_.at(why.other->value)->target.name + ")" : "";
    if (why.request == RequestId{}) {
      spdlog::debug("{} {}{}", model, why.text, other);
    } else if (const auto found = entries_.find(why.request); found != entries_.end()) {
      spdlog::debug("request {} for {} {}{}", found->second->record.identity.id, model, why.text, other);
    }
  }
}

}  // namespace drover
