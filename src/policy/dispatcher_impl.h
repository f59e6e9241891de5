// The dispatcher's state and the steps of its policy. Included by dispatcher*.cc only.
//
// An event changes what it is about and touches its model; settle() then lets every touched model serve its queue,
// plans memory, and repeats until nothing changes. So the rules are in two places, whatever the event was: serve() says
// what one model does with what it has, plan() who gets memory.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "policy/dispatcher.h"
#include "policy/fair_queue.h"
#include "policy/memory_plan.h"

namespace drover {

class Dispatcher::Impl {
 public:
  explicit Impl(DispatcherConfig config);

  Result<void> admit(const Arrival& arrival, TimePoint now);
  void cancel(RequestId id, TimePoint now);
  bool unload(ModelId id, TimePoint now);
  void shutdown(TimePoint now);
  void set_memory_bound(std::uint64_t bytes, TimePoint now);

  void load_progress(RunnerId id, float fraction, TimePoint now);
  void loaded(RunnerId id, const LoadedInfo& info, TimePoint now);
  void set_places(RunnerId id, int places, TimePoint now);
  void load_failed(RunnerId id, const Error& error, bool memory, TimePoint now);
  void output_sent(RequestId id, TimePoint now);
  void finished(RequestId id, TimePoint now);
  void progress(RunnerId id, TimePoint now);
  void blame(RunnerId id, const Blame& blame);
  void runner_gone(RunnerId id, std::string_view how, TimePoint now, const Blame& blame);

  void tick(TimePoint now);
  TimePoint next_due() const;
  std::vector<Action> take_actions();
  std::vector<Explanation> take_explanations() { return std::exchange(explanations_, {}); }

  std::vector<ModelView> models() const;
  int busy_runners() const;
  std::vector<RequestView> requests() const;
  std::size_t waiting() const { return waiting_; }
  std::size_t queued() const { return queued_with(nullptr); }
  std::size_t position(RequestId id) const;
  Duration retry_after(ModelId id, TimePoint now) const;

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
    int places = 0;
    int context_length = 0;
    std::uint64_t memory_bytes = 0;  // estimate, then measured
    float load_fraction = 0;
    TimePoint progress_at;
    TimePoint loaded_at;
    TimePoint last_used;
    Duration keep_alive{};
    Blame blame;                    // if it hangs
    std::vector<Request*> running;  // those with a place, in the order in which they got it

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
    Runner* runner = nullptr;     // while it has a place
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
    if (config_.explain) explanations_.push_back({model.id, request, text(), other});
  }

  // ---- requests (dispatcher.cc)
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
  std::vector<Explanation> explanations_;
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
