// Who runs, where and when: the whole policy of the front. Pure: no threads, no clock, no I/O; `now` is an argument
// and what has to be done comes out as a list of actions. One thread calls it.
//
// Each model has its own queue, so that a load, an eviction, a failure or a long generation delays only the requests
// for that model. Slots of a model are shared between clients by weighted fair queueing; within one client and
// priority the order of arrival holds.
//
// A model that is needed and not in memory gets there at once if there is room, else in the place of idle models, least
// recently used first, else in that of a busy one whose turn is over: that has been in memory and waited for, both for
// residence_min. Models that wait for memory are served first come, first served. So with room for one, each
// model before it costs a wait of residence_min, the longest generation that runs, an unload and a load, and no more.
//
// Inside, an event changes what it is about and touches its model; settle() then lets every touched model serve its
// queue, plans memory, and repeats until nothing changes. So the rules are in two places, whatever the event was:
// serve() says what one model does with what it has, plan() which models get memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "policy/events.h"
#include "policy/fair_queue.h"
#include "policy/memory_plan.h"
#include "policy/views.h"

namespace drover {

struct DispatcherConfig {
  std::size_t waiting_max = 512;       // requests queued, all models together; replays beyond it are not refused
  int loaded_models_max = 3;           // runners in memory, those that load included
  int slots = 1;                       // parallel generations per model, until its runner says otherwise
  std::uint64_t memory_bytes_max = 0;  // memory limit for all runners together; 0: none
  Duration request_timeout = std::chrono::minutes(5);  // how long a request may wait; zero: no limit
  Duration load_timeout = std::chrono::minutes(5);     // a load fails after this time without progress; zero: no limit
  Duration hang_timeout{};  // a runner with work and no step for so long is killed; zero: off
  // After a failed load, doubled with each further one: a model that cannot load is tried three times in its first
  // minute and once in each of the following ones, however often it is asked for.
  Duration load_backoff_first = std::chrono::seconds(10);
  // A first crash is followed by a start at once, a second one without a completed request between them after this
  // time, doubled with each further one.
  Duration crash_backoff_first = std::chrono::seconds(1);
  Duration backoff_max = std::chrono::minutes(1);
  Duration residence_min =
      std::chrono::seconds(5);                     // how long a busy model keeps its memory while another waits for it
  bool explain = false;                            // whether Explanations are among the actions
  Duration low_ageing = std::chrono::seconds(30);  // each time of waiting so long without any service for its client
                                                   // at its priority raises a request by one priority; zero: off
};

class Dispatcher {
 public:
  explicit Dispatcher(DispatcherConfig config);
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // Takes in what has happened and returns what has to be done about it, in order.
  std::vector<Action> apply(const Event& event, TimePoint now);
  // When a Tick has something to do next; kNever if nothing is due.
  TimePoint next_due() const;

  // ---- views

  std::vector<ModelView> models() const;  // those with a runner, waiting requests or a back-off
  bool is_known(ModelId model) const { return models_.contains(model); }  // else it is as if it had never been
  bool is_in_memory(ModelId model) const;                                 // or on its way in or out
  int busy_runners() const;                                               // that compute for someone at this moment
  std::vector<RequestView> requests() const;  // waiting and running, in the order they will be served
  std::size_t waiting() const { return waiting_; }
  // Those of them that count towards waiting_max. One that will have a slot as soon as its model is in memory does
  // not, as long as it is for one of the loaded_models_max models that can be in memory together.
  std::size_t queued() const { return queued_with(nullptr); }
  // 1 for the request that is next among those waiting for its model; 0 if it is not waiting. Those behind 256 others
  // are not told apart: for them it is the last place, the worst that it can be.
  std::size_t position(RequestId request) const;
  // What a refused client should be told for Retry-After: the time its model needs for those that wait already, or what
  // is left of its back-off; 1 s to 60 s.
  Duration retry_after(ModelId model, TimePoint now) const;

 private:
  // Models that are remembered while they are not in use: for their service time, the error of their estimate, and how
  // often they failed.
  static constexpr std::size_t kModelsRememberedMax = 1024;

  struct Model;

  enum class RunnerState {
    kLoading,
    kServing,
    kGrowing,   // finishes what runs, to be started again with a larger context
    kDraining,  // finishes what runs, because its turn is over
    kStopping,  // was told to end, or is about to by itself; its memory counts until it is gone
  };

  struct Request;

  struct Runner {
    RunnerId id;
    Model* model = nullptr;
    RunnerState state = RunnerState::kLoading;
    ModelNeeds needs;  // what it was started for
    int slots = 0;
    int context_length = 0;
    std::uint64_t memory_bytes = 0;  // estimate, then measured
    float load_fraction = 0;
    TimePoint progress_at;
    TimePoint loaded_at;
    TimePoint last_used;
    Duration keep_alive{};
    Blame blame;                    // if it hangs
    std::vector<Request*> running;  // those with a slot, in the order in which they got it

    // It can serve a request for so many tokens as well as any other runner of its model could.
    bool serves(int context) const;
    // Nobody is to run beside the one that runs.
    bool is_isolated() const;
  };

  struct Request {
    FairQueue::Waiter waiter;
    Model* model = nullptr;
    ModelNeeds needs;
    Duration timeout{};  // for each wait; zero: none
    Duration keep_alive{};
    bool load_only = false;
    RequestPhase phase = RequestPhase::kWaiting;
    TimePoint deadline = kNever;  // while it waits
    Runner* runner = nullptr;     // while it has a slot
    bool output_sent = false;
    bool suspect = false;   // may have killed a runner: runs alone
    int killed_beside = 0;  // runners that were killed from outside while it ran on them beside others
    int killed_alone = 0;   // the same, while it ran alone
  };

  // Why arrivals are refused for a while after a load has failed.
  struct Refusal {
    TimePoint until;
    Error error;
    bool memory = false;  // only those that need as much as what did not fit
    ModelNeeds needs;
    bool applies_to(const ModelNeeds& other) const;
  };

  struct Model {
    explicit Model(ModelId model, Duration ageing) : id(model), queue(ageing) {}
    ModelId id;
    FairQueue queue;
    std::map<std::uint64_t, Request*> load_only;  // by order of arrival
    // Needs of those that wait, each on its own: the next runner is to serve them all.
    std::multiset<std::uint64_t> memory_needs;
    std::multiset<int> context_needs;
    Runner* runner = nullptr;  // at most one, until it is gone
    bool touched = false;
    bool pinned = false;
    bool resident = false;      // pinned and was loaded: is loaded again when its runner dies
    bool unload_asked = false;  // unload when nothing waits or runs any more
    ModelNeeds last_needs;      // of its last runner
    // While it wants memory: since when, and its place in the order of those that do.
    std::optional<std::uint64_t> want;
    TimePoint want_since;
    TimePoint restart_at{};  // not started again before this
    std::optional<Refusal> refusal;
    int load_failures = 0;  // since it last loaded
    int crashes = 0;        // since it last completed a request
    std::string last_error;
    bool memory_retried = false;       // the load failed for lack of memory once
    RunnerId retry_after_runner;       // the retry waits until this one is gone
    std::uint64_t estimate_error = 0;  // by how many bytes the last measured figure was above the estimate

    std::size_t waiting() const { return queue.size() + load_only.size(); }
    bool wanted() const { return waiting() > 0 || resident; }
    bool idle() const { return waiting() == 0 && (runner == nullptr || runner->running.empty()); }
    ModelNeeds needs() const;
  };

  template <typename SomeAction>
  void act(SomeAction action) {
    actions_.emplace_back(std::in_place_type<SomeAction>, std::move(action));
  }

  // `text` makes the text, and is called only where somebody will read it.
  template <typename Text>
  void explain(const Model& model, RequestId request, Text text, std::optional<ModelId> other = std::nullopt) {
    if (config_.explain) act(Explanation{model.id, request, text(), other});
  }

  // ---- events
  void on(const event::Admit& admit, TimePoint now);
  void on(const event::Cancel& cancel, TimePoint now);
  void on(const event::Unload& unload, TimePoint now);
  void on(const event::Shutdown& shutdown, TimePoint now);
  void on(const event::MemoryBound& bound, TimePoint now);
  void on(const event::LoadProgress& progress, TimePoint now);
  void on(const event::Loaded& loaded, TimePoint now);
  void on(const event::SlotsChanged& changed, TimePoint now);
  void on(const event::LoadFailed& failed, TimePoint now);
  void on(const event::OutputSent& sent, TimePoint now);
  void on(const event::Finished& finished, TimePoint now);
  void on(const event::Progress& progress, TimePoint now);
  void on(const event::Blamed& blamed, TimePoint now);
  void on(const event::RunnerGone& gone, TimePoint now);
  void on(const event::Tick& tick, TimePoint now);

  // ---- requests (dispatcher.cc)
  std::optional<Error> refusal_of(const Arrival& arrival, Model& model, TimePoint now) const;
  Model& model_of(ModelId id);
  void forget_unused_models();
  Result<void> check_room(const Model& model, const ModelNeeds& needs) const;
  bool is_served(const Model& model, const ModelNeeds& needs) const;
  bool starts_at_once(const Model& model, const Arrival& arrival) const;
  std::size_t queued_with(const Model* one_more) const;
  bool finds_room_to_wait(const Model& model) const;
  void enqueue(Request& request, TimePoint now);
  void dequeue(Request& request, TimePoint now);
  void leave_queue(Request& request);
  void forget(Request& request);
  void fail(Request& request, Error error, std::optional<Duration> retry_after, TimePoint now);
  std::vector<Request*> waiting_of(const Model& model);
  std::vector<RequestId> order_of(const Model& model) const;
  ModelView view_of(const Model& model) const;
  std::string why_waiting(const Request& request) const;

  // ---- faults (dispatcher_runners.cc)
  Runner* runner_of(RunnerId id);
  void load_ended(Runner& runner, const Error& error, bool memory, TimePoint now);
  bool make_room_for_retry(Model& model);
  void crashed(Runner& runner, const Blame& blame, TimePoint now);
  static Request* find_culprit(const std::vector<Request*>& running, const Blame& blame);
  Duration backoff(Duration first, int failures) const;
  TimePoint fault_due(const Runner& runner) const;
  void check_fault(Runner& runner, TimePoint now);

  // ---- policy (dispatcher_settle.cc)
  void touch(Model& model);
  void settle(TimePoint now);
  void serve(Model& model, TimePoint now);
  void serve_queue(Runner& runner, TimePoint now);
  bool complete_load_only(Runner& runner, TimePoint now);
  void dispatch(Request& request, Runner& runner, TimePoint now);
  bool outgrown(const Runner& runner) const;
  void unload_if_due(Runner& runner, TimePoint now);
  TimePoint expiry(const Runner& runner) const;
  void update_want(Model& model, TimePoint now);
  void plan(TimePoint now);
  std::vector<Want> gather_wants(TimePoint now);
  TimePoint earliest_start(const Model& model) const;
  std::vector<Resident> gather_residents() const;
  bool fail_what_cannot_fit(Model& model, TimePoint now);
  Room total_room() const;
  Room room_beside_pinned(const Model& model) const;
  Room need_of(const Model& model) const;
  void start(Model& model, TimePoint now);
  void stop(Runner& runner, StopReason reason);

  DispatcherConfig config_;
  bool shutting_down_ = false;
  std::map<ModelId, Model> models_;
  std::map<RunnerId, Runner> runners_;
  std::unordered_map<RequestId, Request> requests_;
  std::size_t waiting_ = 0;
  std::set<std::pair<TimePoint, RequestId>> deadlines_;
  std::map<std::uint64_t, Model*> wants_;  // models that want memory, in the order in which they began to
  TimePoint now_;                          // of the last event
  TimePoint plan_due_ = kNever;
  std::vector<Model*> touched_;
  std::vector<Action> actions_;
  std::uint64_t arrivals_ = 0;
  std::uint64_t runners_started_ = 0;
  std::uint64_t wants_made_ = 0;
};

// What one runner with so much memory takes. Saturates.
inline Room room_for(std::uint64_t bytes) {
  constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 60;
  return {static_cast<std::int64_t>(std::min(bytes, kBytesMax)), 1};
}

// Saturates: durations from outside may be as long as the type can hold.
inline TimePoint later(TimePoint from, Duration by) {
  return by > kNever - from ? kNever : from + by;
}

}  // namespace drover
