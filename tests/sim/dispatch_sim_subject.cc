#include "dispatch_sim_subject.h"

#include <string>

namespace drover::sim {

namespace {

// How many opportunities pass before a mutation strikes.
constexpr int kChancesPerStrike = 20;
constexpr Duration kAtOnce = std::chrono::seconds(1);

}  // namespace

bool Subject::strikes(Mutation mutation) {
  return mutation == mutation_ && ++chances_ % kChancesPerStrike == 0;
}

void Subject::apply(const Event& event, TimePoint now) {
  for (Action& action : dispatcher_.apply(event, now)) decided_.push_back(std::move(action));
}

Result<void> Subject::admit(Arrival arrival, TimePoint now) {
  if (mutation_ == Mutation::kShrinkEstimates) arrival.needs.memory_bytes /= 2;
  if (mutation_ == Mutation::kMergeClients) arrival.client = "everybody";
  if (mutation_ == Mutation::kSplitClients) arrival.client += " " + std::to_string(arrival.request.value);
  if (mutation_ == Mutation::kIgnoreWeights) arrival.client_weight = 1;
  if (strikes(Mutation::kLoseRequest) || (mutation_ == Mutation::kAdmitLate && shut_down_)) return {};
  if (mutation_ == Mutation::kFillDraining && !arrival.load_only && arrival.needs.context_length == 0)
    plain_.insert(arrival.request);
  apply(event::Admit{arrival}, now);
  Result<void> admitted;
  if (!decided_.empty())
    if (auto* refuse = std::get_if<Refuse>(&decided_.back())) {
      admitted = std::move(refuse->error);
      decided_.pop_back();
    }
  if (mutation_ == Mutation::kSwapArrivals && admitted.ok()) {
    const bool same_flow = last_arrival_ && last_arrival_->client == arrival.client &&
                           last_arrival_->model == arrival.model && last_arrival_->priority == arrival.priority;
    if (same_flow && strikes(Mutation::kSwapArrivals)) {
      // From now on each of the two stands for the other.
      swapped_[arrival.request] = last_arrival_->request;
      swapped_[last_arrival_->request] = arrival.request;
      last_arrival_.reset();
    } else {
      last_arrival_ = arrival;
    }
  }
  return admitted;
}

RequestId Subject::swapped(RequestId request) const {
  const auto it = swapped_.find(request);
  return it == swapped_.end() ? request : it->second;
}

bool Subject::unload(ModelId model, TimePoint now) {
  if (mutation_ == Mutation::kDeafToUnload) return true;
  const bool in_memory = dispatcher_.is_in_memory(model);
  apply(event::Unload{model}, now);
  return in_memory;
}

Duration Subject::retry_after(ModelId model, TimePoint now) const {
  return mutation_ == Mutation::kShortRetry ? kAtOnce : dispatcher_.retry_after(model, now);
}

void Subject::tell(Event event, TimePoint now) {
  if (std::visit([this](auto& what) { return hear(what); }, event)) apply(event, now);
}

bool Subject::hear(event::Cancel& cancel) {
  cancel.request = swapped(cancel.request);
  return !strikes(Mutation::kLoseCancel);
}

bool Subject::hear(event::Loaded& loaded) {
  if (strikes(Mutation::kOverbook)) ++loaded.slots;
  return true;
}

bool Subject::hear(event::SlotsChanged&) {
  return mutation_ != Mutation::kDeafToSlots;
}

bool Subject::hear(event::OutputSent& sent) {
  sent.request = swapped(sent.request);
  return true;
}

bool Subject::hear(event::Finished& finished) {
  finished.request = swapped(finished.request);
  return !strikes(Mutation::kKeepSlot);
}

bool Subject::hear(event::Blamed& blamed) {
  twist(blamed.blame);
  return true;
}

bool Subject::hear(event::RunnerGone& gone) {
  twist(gone.blame);
  return true;
}

bool Subject::hear(event::Shutdown&) {
  shut_down_ = shut_down_now_ = true;
  return true;
}

void Subject::twist(Blame& blame) const {
  if (mutation_ == Mutation::kDeafToBlame) blame.request = {};
  if (mutation_ == Mutation::kBlameTheKilled) blame.from_outside = false;
  if (blame.request != RequestId{}) blame.request = swapped(blame.request);
}

std::vector<Action> Subject::take_actions(TimePoint now) {
  std::vector<Action> actions = std::exchange(decided_, {});
  for (std::size_t i = 0; mutation_ == Mutation::kTrustSuspects && i < actions.size(); ++i) {
    const auto* dispatch = std::get_if<Dispatch>(&actions[i]);
    if (!dispatch || dispatched_.insert(dispatch->request).second) continue;
    for (Action& more : dispatcher_.apply(event::OutputSent{dispatch->request}, now))
      actions.push_back(std::move(more));
  }
  if (mutation_ != Mutation::kNone) break_actions(actions);
  if (mutation_ == Mutation::kFillDraining) fill_draining(actions);
  if (mutation_ == Mutation::kCutShort && std::exchange(shut_down_now_, false)) cut_short(actions);
  return actions;
}

// The next request gets a free slot of a runner that was draining before this event and still is. Models that somebody
// waits for with a larger context are left out: their runners end to grow.
void Subject::fill_draining(std::vector<Action>& actions) {
  std::set<RunnerId> draining;
  for (const ModelView& view : dispatcher_.models()) {
    if (view.state != ModelState::kDraining) continue;
    draining.insert(view.runner);
    if (!draining_.contains(view.runner) || view.waiting == 0 || view.running >= view.slots) continue;
    std::optional<RequestId> next;
    bool all_plain = true;
    for (const RequestView& request : dispatcher_.requests()) {
      if (request.model != view.model || request.phase != RequestPhase::kWaiting) continue;
      all_plain = all_plain && plain_.contains(request.request);
      if (request.position == 1) next = request.request;
    }
    if (next && all_plain && strikes(Mutation::kFillDraining)) actions.push_back(Dispatch{*next, view.runner});
  }
  draining_ = std::move(draining);
}

void Subject::cut_short(std::vector<Action>& actions) const {
  for (const RequestView& request : dispatcher_.requests())
    if (request.phase == RequestPhase::kRunning)
      actions.push_back(Fail{request.request, {ErrorCode::kUnavailable, "server is shutting down"}, {}});
}

void Subject::break_actions(std::vector<Action>& actions) {
  std::vector<Action> broken;
  for (Action& action : actions) {
    if (auto* dispatch = std::get_if<Dispatch>(&action)) dispatch->request = swapped(dispatch->request);
    if (auto* cancel = std::get_if<CancelOnRunner>(&action)) cancel->request = swapped(cancel->request);
    if (auto* complete = std::get_if<Complete>(&action)) complete->request = swapped(complete->request);
    if (auto* fail = std::get_if<Fail>(&action)) fail->request = swapped(fail->request);
    if (auto* fail = std::get_if<Fail>(&action); fail && fail->retry_after && mutation_ == Mutation::kShortRetry)
      fail->retry_after = kAtOnce;
    const auto* stop = std::get_if<StopRunner>(&action);
    if (stop && stop->reason == StopReason::kEvicted && strikes(Mutation::kForgetStop)) continue;
    if (const auto* fail = std::get_if<Fail>(&action)) {
      if (fail->error.code == ErrorCode::kTimedOut && strikes(Mutation::kForgetDeadline)) continue;
      broken.push_back(action);
      if (last_start_ && fail->retry_after && mutation_ == Mutation::kRetryAtOnce)
        broken.push_back(StartRunner{RunnerId{last_start_->runner.value + 1000000}, last_start_->model, 0});
      continue;
    }
    broken.push_back(action);
    if (const auto* start = std::get_if<StartRunner>(&action)) last_start_ = *start;
    if (const auto* dispatch = std::get_if<Dispatch>(&action)) {
      if (strikes(Mutation::kDispatchTwice)) broken.push_back(action);
      if (strikes(Mutation::kEvictBusy)) broken.push_back(StopRunner{dispatch->runner, StopReason::kEvicted});
      if (strikes(Mutation::kFailReplay)) broken.push_back(Fail{dispatch->request, internal("no reason"), {}});
    }
  }
  actions = std::move(broken);
}

}  // namespace drover::sim
