// Who runs, where and when: the whole policy of the front. Pure: no threads, no clock, no I/O; `now` is an argument
// and what has to be done comes out as a list of actions. One thread calls it.
//
// Each model has its own queue, so that a load, an eviction, a failure or a long generation delays only the requests
// for that model. Places of a model are shared between clients by weighted fair queueing; within one client and
// priority the order of arrival holds.
//
// A model that is needed and not in memory gets there at once if there is room, else in the place of idle models, least
// recently used first, else in that of a busy one whose turn is over: that has been in memory and waited for, both for
// residence_min. Those that wait for memory take turns in the order in which they began to. So with room for one, each
// model before it costs a wait of residence_min, the longest generation that runs, an unload and a load, and no more.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace drover {

struct DispatcherConfig {
  std::size_t waiting_max = 512;       // requests queued, all models together; replays beyond it are not refused
  int loaded_models_max = 3;           // runners in memory, those that load included
  int places = 1;                      // parallel generations per model, until its runner says otherwise
  std::uint64_t memory_bytes_max = 0;  // bound over all runners; 0: none
  Duration request_timeout = std::chrono::minutes(5);  // how long a request may wait; zero: no limit
  Duration load_timeout = std::chrono::minutes(5);     // a load without progress for so long fails; zero: no limit
  Duration hang_timeout = std::chrono::seconds(60);  // a runner with work and no step for so long is killed; zero: off
  // After a failed load, doubled with each further one: a model that cannot load is tried three times in its first
  // minute and once in each of the following ones, however often it is asked for.
  Duration load_backoff_first = std::chrono::seconds(10);
  // A first crash is followed by a start at once, a second one without a completed request between them after this
  // time, doubled with each further one.
  Duration crash_backoff_first = std::chrono::seconds(1);
  Duration backoff_max = std::chrono::minutes(1);
  Duration residence_min =
      std::chrono::seconds(5);                     // how long a busy model keeps its memory while another waits for it
  bool explain = false;                            // whether take_explanations() has something to say
  Duration low_ageing = std::chrono::seconds(30);  // each time of waiting so long without any service for its client
                                                   // at its priority raises a request by one priority; zero: off
};

// What the dispatcher must know of a model before it can load it.
struct ModelNeeds {
  std::uint64_t memory_bytes = 0;  // estimate for that context; the measured figure replaces it once it is loaded
  int context_length = 0;          // tokens that this request wants to hold; 0: whatever is loaded or the default
  bool pinned = false;             // never evicted
};

struct Arrival {
  RequestId request;
  ModelId model;
  std::string client;        // who shares: API key, else X-Client-Id, else address
  double client_weight = 1;  // its share beside other clients; above 0 and the same in all its requests
  Priority priority = Priority::kNormal;
  ModelNeeds needs;
  std::optional<Duration> timeout;                // replaces request_timeout when it is shorter
  Duration keep_alive = std::chrono::minutes(5);  // negative: for ever; zero: unload when this request is done
  bool load_only = false;                         // wants the model in memory and no place; ends with Complete
};

// ---- what to do; in this order, without gaps

struct StartRunner {
  RunnerId runner;
  ModelId model;
  int context_length;
};
enum class StopReason { kIdle, kEvicted, kAskedFor, kHung, kLoadStalled, kAbandoned, kGrown, kShutdown };
struct StopRunner {
  RunnerId runner;
  StopReason reason;
};  // kHung and kLoadStalled: kill, and report nothing of this runner any more but runner_gone(); the others have no
    // requests: ask, then kill
struct Dispatch {
  RequestId request;
  RunnerId runner;
};  // the request has a place on this runner
struct CancelOnRunner {
  RequestId request;
  RunnerId runner;
};  // free its place; answer with finished()
struct Complete {
  RequestId request;
};  // a load_only request: the model is in memory
struct Fail {
  RequestId request;
  Error error;
  std::optional<Duration> retry_after;
};  // its one outcome

// What is known of whose fault a runner's end is.
struct Blame {
  RequestId request;          // what it worked on when it died or hung; none: nobody knows
  bool from_outside = false;  // it was killed or stopped by somebody else
};

using Action = std::variant<StartRunner, StopRunner, Dispatch, CancelOnRunner, Complete, Fail>;

// Why something was decided, for those who look into it. The text is what happens to the request, or without one to the
// model: "gets place 2 of 4 after 0.1 s"; `other` is the model because of which it does.
struct Explanation {
  ModelId model;
  RequestId request;
  std::string text;
  std::optional<ModelId> other;
};

// ---- what the dispatcher looks like, for /api/ps and the queue

enum class ModelState { kUnloaded, kLoading, kLoaded, kDraining, kStopping, kBackoff };

struct ModelView {
  ModelId model;
  ModelState state = ModelState::kUnloaded;
  RunnerId runner;
  int places = 0;
  int running = 0;
  std::size_t waiting = 0;
  int context_length = 0;
  std::uint64_t memory_bytes = 0;  // measured, or the estimate while it loads
  Duration keep_alive{};           // of the latest request that used it
  TimePoint expires = kNever;      // when an idle model leaves memory; kNever while it is in use
  float load_fraction = 0;
  std::string last_error;       // of a load or a crash, while kBackoff
  TimePoint retry_at = kNever;  // while kBackoff
};

enum class RequestPhase { kWaiting, kRunning, kCanceling };

struct RequestView {
  RequestId request;
  ModelId model;
  std::string client;
  Priority priority = Priority::kNormal;
  RequestPhase phase = RequestPhase::kWaiting;
  std::size_t position = 0;  // among the waiting ones of its model, 1 is next; 0 when it runs
  TimePoint arrived;
};

class Dispatcher {
 public:
  explicit Dispatcher(DispatcherConfig config);
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // ---- what clients do

  // Takes a request in, or refuses it: kQueueFull ("server busy, please try again.  maximum pending requests
  // exceeded") when it would be queued and waiting_max are queued already, kUnavailable after shutdown(), or the cached
  // error of a model that failed to load and is backing off. On refusal nothing is kept and no action follows.
  Result<void> admit(const Arrival& arrival, TimePoint now);
  // The client is gone: a waiting request is forgotten without a further word, a running one gets CancelOnRunner and
  // holds its place until finished(). Unknown requests are ignored.
  void cancel(RequestId request, TimePoint now);
  // Unload: at once if idle, else when the running and waiting requests are done. False: it is not in memory. A pinned
  // model goes too, and stays away until the next request for it.
  bool unload(ModelId model, TimePoint now);
  // From now on every arrival is refused, waiting ones fail with kUnavailable, running ones go on; idle runners stop.
  void shutdown(TimePoint now);
  // Replaces memory_bytes_max, for instance because others on this machine take more. What runs is not cut short.
  void set_memory_bound(std::uint64_t bytes, TimePoint now);

  // ---- what runners do

  void load_progress(RunnerId runner, float fraction, TimePoint now);
  struct LoadedInfo {
    int places;
    int context_length;
    std::uint64_t memory_bytes;
  };
  void loaded(RunnerId runner, const LoadedInfo& info, TimePoint now);
  // A loaded runner can now take so many requests at a time, 1 or more. What runs is not cut short: with fewer places
  // than running requests, the next one is dispatched when enough of them have finished.
  void set_places(RunnerId runner, int places, TimePoint now);
  // The load failed; runner_gone() still follows, without StopRunner. `memory`: for lack of it, so one idle model is
  // evicted and the load is tried once more. kNotFound: the model has been deleted; those that waited are told, and the
  // next one may find it there again.
  void load_failed(RunnerId runner, const Error& error, bool memory, TimePoint now);
  // Something of this request's answer has gone to its client, so that it cannot be replayed.
  void output_sent(RequestId request, TimePoint now);
  // The request has ended on its runner, in whatever way; its place is free.
  void finished(RequestId request, TimePoint now);
  // The runner made a step.
  void progress(RunnerId runner, TimePoint now);
  // Whose fault it is if this runner is found to hang. Replaces what was said before.
  void blame(RunnerId runner, const Blame& blame);
  // The process has ended, asked to or not. The request whose fault it is fails; the others that had a place on it and
  // had sent nothing are replayed, ahead of others, and get their time to wait anew. If nobody knows whose fault it is,
  // each of them is replayed alone, until it has sent something: a second death has one culprit. A runner that is
  // killed from outside is nobody's fault, but who loses too many that way is looked at alone, and then fails.
  // One that ends while it loads is started once more before its requests fail.
  void runner_gone(RunnerId runner, std::string_view how, TimePoint now, const Blame& blame = {});

  // ---- time

  // Applies everything that is due at `now`.
  void tick(TimePoint now);
  // When tick() has something to do next; kNever if nothing is due.
  TimePoint next_due() const;

  // What has to be done since the last call, in order.
  std::vector<Action> take_actions();
  // Why, in the same order; nothing unless the configuration asks for it.
  std::vector<Explanation> take_explanations();

  // ---- views

  std::vector<ModelView> models() const;      // those with a runner, waiting requests or a back-off
  int busy_runners() const;                   // that compute for someone at this moment
  std::vector<RequestView> requests() const;  // waiting and running, in the order they will be served
  std::size_t waiting() const;
  // Those of them that count towards waiting_max. One that will have a place as soon as its model is in memory does
  // not, as long as it is for one of the loaded_models_max models that can be in memory together.
  std::size_t queued() const;
  // 1 for the request that is next among those waiting for its model; 0 if it is not waiting. Those behind 256 others
  // are not told apart: for them it is the last place, the worst that it can be.
  std::size_t position(RequestId request) const;
  // What a refused client should be told for Retry-After: the time its model needs for those that wait already, or what
  // is left of its back-off; 1 s to 60 s.
  Duration retry_after(ModelId model, TimePoint now) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace drover
