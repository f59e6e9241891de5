// Clients and runners in virtual time, all from one seed: what happens around the dispatcher.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "dispatch_sim_checker.h"
#include "dispatch_sim_subject.h"

namespace drover::sim {

// Random numbers that are the same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  // From 0 to n - 1.
  std::uint64_t below(std::uint64_t n) { return engine_() % n; }
  bool chance(double probability) { return unit() < probability; }
  double unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  Duration between(Duration low, Duration high) {
    return low + Duration(static_cast<std::int64_t>(unit() * static_cast<double>((high - low).count())));
  }
  template <typename T>
  T one_of(std::initializer_list<T> choices) {
    return *(choices.begin() + below(choices.size()));
  }

 private:
  std::mt19937_64 engine_;
};

// What a seed decides before anything happens.
struct Scenario {
  struct Model {
    std::uint64_t weights = 0;      // bytes
    std::uint64_t per_token = 0;    // bytes of context
    int default_context = 4096;     // tokens
    double estimate_error_max = 0;  // measured memory is up to so much more than the estimate
    Duration load_max{};
    bool broken = false;  // never loads
    bool pinned = false;
  };
  DispatcherConfig config;
  WorldTraits traits;
  std::vector<Model> models;
  int requests = 0;
  int slots_max = 1;
  int clients = 1;
  bool weighted = false;  // clients have weights
  Duration gap_mean{};
  Duration service_max{};
  double burst = 0, visitor = 0, leaves = 0, load_only = 0, larger_context = 0, own_timeout = 0, other_priority = 0;
  double load_fails = 0, load_memory_fails = 0, load_dies = 0, load_stalls = 0;
  double killed = 0, stopped = 0;                   // per dispatch: somebody outside kills the runner, or stops it
  double poison = 0;                                // per request: it ends each runner that it gets a slot on
  double blamed = 0;                                // per such end: it is known whose fault it was
  double whole = 0;                                 // per request: sends nothing before its end
  double unload = 0, new_bound = 0, new_slots = 0;  // per arrival
  bool early_shutdown = false;
};

Scenario make_scenario(std::uint64_t seed, int requests);

class World {
 public:
  World(std::uint64_t seed, const Scenario& scenario, Mutation mutation);

  // Until nothing is left to happen. The broken rule, if one was.
  std::optional<std::string> run();
  const Checker::Counts& counts() const { return checker_.counts(); }

 private:
  enum class Kind {
    kArrive,
    kLeave,
    kOutput,
    kFinish,
    kPoison,
    kLoadStep,
    kLoadEnd,
    kStep,
    kStop,
    kDie,
    kUnload,
    kShutdown
  };
  struct Event {
    TimePoint at;
    std::uint64_t order = 0;
    Kind kind = Kind::kArrive;
    std::uint64_t id = 0;  // of a request, a runner or a model
    int attempt = 0;       // of a request
    friend bool operator>(const Event& a, const Event& b) { return a.at != b.at ? a.at > b.at : a.order > b.order; }
  };
  enum class LoadEnd { kLoaded, kFailed, kNoMemory, kDead, kStalled };
  struct Request {
    Arrival arrival;
    int attempt = 0;
    RunnerId runner;  // while it runs
    bool leaving = false;
    bool poison = false;
    bool whole = false;
  };
  struct Runner {
    ModelId model;
    int context_length = 0;
    std::uint64_t estimate = 0;
    LoadEnd end = LoadEnd::kLoaded;
    float fraction = 0;
    Duration load_step{};
    bool loaded = false;
    bool stepping = false;  // its next step is scheduled
    bool deaf = false;      // hung, or killed: says nothing any more
    std::vector<RequestId> running;
  };

  void schedule(Duration after, Kind kind, std::uint64_t id, int attempt = 0);
  bool next();
  void handle(const Event& event);
  void pump();
  void apply(const StartRunner& action);
  void apply(const StopRunner& action);
  void apply(const Dispatch& action);
  void apply(const CancelOnRunner& action);
  void apply(const Complete& action) { requests_.erase(action.request); }
  void apply(const Fail& action) { requests_.erase(action.request); }
  void apply(const Refuse&) {}
  void apply(const Explanation&) {}

  void arrive();
  void admit(Arrival arrival);
  Arrival make_arrival();
  void leave(RequestId request);
  void change_slots();
  void load_step(RunnerId runner);
  void load_end(RunnerId runner);
  void finish(RequestId request, int attempt);
  void step(RunnerId runner);
  void strike(RequestId request, int attempt);
  void hang(RunnerId runner, const Blame& blame, std::optional<RequestId> by);
  void die(RunnerId runner, const Blame& blame, std::optional<RequestId> by);
  void abandon_running(Runner& runner);
  Request* running(RequestId request, int attempt);
  std::uint64_t memory_of(const Scenario::Model& model, int context) const;

  Scenario scenario_;
  Random random_;
  Subject subject_;
  Checker checker_;
  TimePoint now_{std::chrono::hours(1)};
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::unordered_map<RequestId, Request> requests_;
  std::unordered_map<RunnerId, Runner> runners_;
  std::uint64_t events_made_ = 0;
  std::uint64_t requests_made_ = 0;
  bool shutdown_planned_ = false;
};

}  // namespace drover::sim
