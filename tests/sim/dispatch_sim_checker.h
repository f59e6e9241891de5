// What must hold of the dispatcher, whatever happens. The checker sees what its driver sees, what goes in and what
// comes out, and keeps books of its own.
#pragma once

#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "policy/dispatcher.h"

namespace drover::sim {

// `by` after `from`, or never.
inline TimePoint later(TimePoint from, Duration by) {
  return by > kNever - from ? kNever : from + by;
}

struct WorldTraits {
  // No faults, no growth, no changes of memory: a model that wants memory gets it within this time. Zero: no promise.
  Duration lack_max{};
  // Compare the dispatcher's own account with the checker's. Off where rules are broken on purpose, because the rules
  // are to be seen to bite, not the account.
  bool compare_views = true;
};

class Checker {
 public:
  Checker(const DispatcherConfig& config, const WorldTraits& traits);

  // ---- what the dispatcher was told, after it was told and before its actions are shown
  void admitted(const Arrival& arrival, const Result<void>& result, TimePoint now);
  // What a client was told that has been refused.
  void told_to_retry(ModelId model, Duration retry_after);
  void canceled(RequestId request, TimePoint now);
  void unloaded(ModelId model, bool was_loaded);
  void shut_down() { shutting_down_ = true; }
  void memory_bound_set(std::uint64_t bytes) { config_.memory_bytes_max = bytes; }
  void load_progressed(RunnerId runner, float fraction, TimePoint now);
  void loaded(const event::Loaded& info, TimePoint now);
  void slots_changed(RunnerId runner, int slots);
  void load_failed(RunnerId runner, const Error& error, bool memory, TimePoint now);
  void output_sent(RequestId request);
  // The truth about an admitted request that the dispatcher does not know: it ends each runner that it gets a slot on.
  void poisonous(RequestId request) { poisons_.emplace(request, 0); }
  void finished(RequestId request, TimePoint now);
  void progressed(RunnerId runner, TimePoint now);
  void blamed(RunnerId runner, const Blame& blame, std::optional<RequestId> by);
  // `by`: the poison that has ended it; none: somebody outside.
  void gone(RunnerId runner, TimePoint now, const Blame& blame, std::optional<RequestId> by);
  void ticked() { ticked_ = true; }

  // What it did about it; ends the event. Checks the state that is left.
  void acted(const std::vector<Action>& actions, const Dispatcher& dispatcher, TimePoint now);

  // Nothing is left to do: nothing may be left over.
  void ended(const Dispatcher& dispatcher);

  // The first broken rule.
  const std::optional<std::string>& violation() const { return violation_; }

  // ---- for the world
  struct Counts {
    std::uint64_t admitted = 0, refused = 0, finished = 0, completed = 0, canceled = 0, failed = 0, timed_out = 0,
                  replayed = 0, loads = 0, evictions = 0, turns_ended = 0, grown = 0, hung = 0, visitors = 0,
                  poisoned = 0, alone = 0;
    Counts& operator+=(const Counts& other);
  };
  const Counts& counts() const { return counts_; }

 private:
  enum class Phase { kWaiting, kRunning, kCanceling };
  using FlowKey = std::pair<std::string, Priority>;

  struct Request {
    Arrival arrival;
    std::uint64_t sequence = 0;
    Phase phase = Phase::kWaiting;
    RunnerId runner;
    TimePoint deadline = kNever;
    bool output_sent = false;
    int replays = 0;
    bool suspect = false;
    int killed_beside = 0, killed_alone = 0;
    TimePoint dispatched;
    std::uint64_t dispatched_event = 0;
    bool lost_now = false;    // its runner died in this event
    bool cancel_now = false;  // its client left in this event: a CancelOnRunner must follow
  };
  struct Runner {
    ModelId model;
    bool loaded = false;
    bool stopping = false;
    bool failed = false;
    int context_asked = 0;
    event::Loaded info;
    std::uint64_t memory = 0;   // the estimate, then the measured figure
    std::uint64_t claimed = 0;  // the same, with what the estimate was short of last time
    std::uint64_t estimate = 0;
    float fraction = 0;
    TimePoint progress_at, loaded_at, last_used;
    Duration keep_alive{};
    Blame blame;  // if it hangs
    std::optional<RequestId> hung_by;
    std::set<RequestId> running;
    bool serves(int context) const;
  };
  // Somebody who was never here before: each other client may pass it once at most.
  struct Visitor {
    RequestId request;
    Priority priority;
    std::uint64_t event;  // in which it came
    std::map<FlowKey, int> passed_by;
  };
  // What a client has had of a model at a priority.
  struct Flow {
    double served = 0;  // seconds of service divided by its weight
    bool has_had_turns = false;
    TimePoint last_end;
  };
  // By how much one flow's virtual time was ahead of another's when both began to wait, as their turns since tell: who
  // has a turn is behind or even.
  struct Lead {
    double least = -std::numeric_limits<double>::infinity();
    double most = std::numeric_limits<double>::infinity();
  };
  struct Model {
    std::map<FlowKey, std::set<std::uint64_t>> order;  // of waiting requests that want a slot, by arrival
    std::size_t waiting = 0;                           // of all kinds
    std::size_t waiting_for_slot = 0;
    std::size_t suspects_waiting = 0;
    std::multiset<std::uint64_t> estimates;
    std::multiset<int> contexts;
    std::set<std::string> clients_seen;
    std::vector<Visitor> visitors;
    std::map<FlowKey, Flow> flows;
    std::map<std::pair<FlowKey, FlowKey>, Lead> leads;  // of two that have waited since, the first over the second
    double shortest_service = 1, longest_service = 1;   // seconds, of those that completed; until then, a guess
    bool has_completed = false;
    bool ever_failed = false;  // a load of it has
    std::optional<RunnerId> runner;
    bool pinned = false;
    bool resident = false;
    bool unload_asked = false;
    std::uint64_t estimate_error = 0;
    std::uint64_t last_estimate = 0;
    int load_failures = 0, crashes = 0;
    TimePoint no_start_before{};
    bool load_failed_now = false;
    bool memory_failed = false;  // the last load failed for lack of memory and has not been tried again
    std::optional<TimePoint> lacks_since;
  };

  void broken(const std::string& what);
  void wait(Request& request, TimePoint now);
  void stop_waiting(Request& request);
  void lose(Runner& runner, const Blame& blame, std::optional<RequestId> by, TimePoint now);
  std::optional<RequestId> find_culprit(const Runner& runner, const Blame& blame);
  void check_poison(RequestId poison, bool certain);
  bool runs_suspect(const Runner& runner) const;
  void load_ended(Model& model, TimePoint now);
  Duration backoff(Duration first, int failures) const;
  std::size_t queued_with(ModelId id, std::size_t one_more) const;
  bool may_queue(ModelId id) const;
  bool others_lack(ModelId model) const;
  bool lacks(const Model& model) const;
  bool over_bound(std::uint64_t Runner::*figure) const;
  std::uint64_t memory_used(std::uint64_t Runner::*figure) const;

  void on(const StartRunner& action, TimePoint now);
  void on(const StopRunner& action, TimePoint now);
  void check_stop(Runner& runner, const Model& model, StopReason reason, TimePoint now);
  void on(const Dispatch& action, TimePoint now);
  void on(const CancelOnRunner& action, TimePoint now);
  void on(const Complete& action, TimePoint now);
  void on(const Refuse& action, TimePoint now);
  void on(const Explanation&, TimePoint) {}
  void on(const Fail& action, TimePoint now);
  bool may_fail(const Request& request, const Fail& action, TimePoint now) const;
  void check_fairness(const Request& request);
  void check_shares(Model& model, const Request& request, const Runner& runner, TimePoint now);
  bool somebody_aged(const Model& model, TimePoint now) const;
  void account(Model& model, const Request& request, TimePoint now);

  void check_requests(TimePoint now);
  void check_models(const Dispatcher& dispatcher, TimePoint now);
  void check_drains(const Dispatcher& dispatcher);
  void check_serving(ModelId id, const Model& model, const Runner& runner, TimePoint now);
  void check_lack(const Dispatcher& dispatcher, TimePoint now);
  void check_views(const Dispatcher& dispatcher);

  DispatcherConfig config_;
  WorldTraits traits_;
  std::unordered_map<RequestId, Request> requests_;
  std::map<RunnerId, Runner> runners_;
  std::map<RequestId, int> poisons_;  // and how many runners each has ended
  std::map<ModelId, Model> models_;
  std::multiset<TimePoint> deadlines_;
  std::set<RequestId> touched_;  // requests that this event is about and that need a look when it is over
  std::size_t waiting_ = 0;
  std::optional<std::pair<RequestId, bool>> admitted_now_;  // and whether the queue had room for it
  std::set<RunnerId> given_now_;                            // runners that got a request in this event
  std::set<RunnerId> draining_;                             // after the last event
  bool shutting_down_ = false;
  bool ticked_ = false;
  std::unordered_map<std::uint64_t, TimePoint> arrived_;  // by order of arrival
  std::uint64_t arrivals_ = 0, events_ = 0, runners_started_ = 0;
  Counts counts_;
  std::optional<std::string> violation_;
};

}  // namespace drover::sim
