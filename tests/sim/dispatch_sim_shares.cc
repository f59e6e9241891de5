// Whether clients have their shares, and are told when to come back.
#include <algorithm>

#include "dispatch_sim_checker.h"

namespace drover::sim {

namespace {

// The dispatcher counts in nanoseconds and rounds each service twice.
constexpr double kRounding = 2e-5;  // seconds
constexpr double kRetryMin = 1;     // seconds
constexpr double kRetryMax = 60;
constexpr double kRetryRounding = 1e-3;

}  // namespace

// A service has ended.
void Checker::account(Model& model, const Request& request, TimePoint now) {
  const double seconds = to_seconds(now - request.dispatched);
  Flow& flow = model.flows[{request.arrival.client, request.arrival.priority}];
  flow.served += seconds / request.arrival.client_weight;
  flow.last_end = now;
  if (request.phase != Phase::kRunning) return;
  const bool first = !std::exchange(model.has_completed, true);
  model.shortest_service = first ? seconds : std::min(model.shortest_service, seconds);
  model.longest_service = first ? seconds : std::max(model.longest_service, seconds);
}

// Of two clients that go on waiting, the one with less service for its weight has the next turn. Whoever has a turn is
// not ahead of the others: so each turn bounds by how much one was ahead of the other when they began to wait, from
// below or from above, and those bounds must agree. This is exact where one request runs at a time; with several, what
// those that run will have had is not known yet.
void Checker::check_shares(Model& model, const Request& request, const Runner& runner, TimePoint now) {
  const FlowKey mine{request.arrival.client, request.arrival.priority};
  const double served = model.flows[mine].served;
  model.flows[mine].has_had_turns = true;
  if (request.replays > 0 || !runner.running.empty() || somebody_aged(model, now)) return model.leads.clear();
  for (const auto& [other, waiting] : model.order) {
    if (other == mine || other.second != mine.second) continue;
    const auto flow = model.flows.find(other);
    if (flow == model.flows.end() || !flow->second.has_had_turns) continue;
    const double more = flow->second.served - served;  // that the other has had
    const bool first = mine < other;
    Lead& lead = model.leads[first ? std::pair(mine, other) : std::pair(other, mine)];
    if (first) {
      lead.most = std::min(lead.most, more);
    } else {
      lead.least = std::max(lead.least, -more);
    }
    if (lead.least > lead.most + kRounding)
      return broken("a client has a turn that is another's by weight and service");
  }
}

// Those that have waited in vain for long go by other rules.
bool Checker::somebody_aged(const Model& model, TimePoint now) const {
  if (config_.low_ageing <= Duration::zero()) return false;
  return std::any_of(model.order.begin(), model.order.end(), [&](const auto& waiting) {
    const auto flow = model.flows.find(waiting.first);
    const TimePoint last_end = flow == model.flows.end() ? TimePoint{} : flow->second.last_end;
    return now - std::max(arrived_.at(*waiting.second.begin()), last_end) >= config_.low_ageing;
  });
}

// As long as those that wait will take, by the mean of the services so far, which lies between the shortest and the
// longest. While a model backs off from a failed load it is what is left of that.
void Checker::told_to_retry(ModelId id, Duration retry_after) {
  const double told = to_seconds(retry_after);
  if (told < kRetryMin || told > kRetryMax) return broken("Retry-After is out of its bounds");
  const Model& model = models_[id];
  if (model.ever_failed) return;
  const bool loaded = model.runner && runners_.at(*model.runner).loaded;
  const int slots = loaded ? runners_.at(*model.runner).info.slots : config_.slots;
  const double turns = static_cast<double>(model.waiting_for_slot + 1) / slots;
  const double least = std::clamp(model.shortest_service * turns, kRetryMin, kRetryMax);
  const double most = std::clamp(model.longest_service * turns, kRetryMin, kRetryMax);
  if (told < least - kRetryRounding || told > most + kRetryRounding)
    broken("Retry-After is not what those that wait will take");
}

}  // namespace drover::sim
