// Decides which worker process prepares which request, and when a worker is stopped or killed, so that no request
// delays the preparation of others. Pure: no processes, threads or clock; prepare_driver.h carries out the decisions.
//
// Requests are prepared one after the other: clients take turns, and the requests of one client are in order of
// arrival. A request that takes long becomes slow: it keeps its worker, and the next request gets another worker. Only
// a few slow requests run at a time, those with the shortest run time first; the workers of the others are stopped
// meanwhile. A request that runs too long is killed.
//
// Where more slow requests wait than there are workers for, one that has a worker can lose it and begins again later:
// if its client has two workers more than the client of one that waits, or if it has had its share of run time and its
// client has one more, or is the same. The share doubles with each time, so every request that ends gets that far.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace drover {

// Names a worker process. Never reused while the runner lives.
using WorkerId = Id<struct WorkerTag>;
// Equal for all requests of one client.
using ClientId = Id<struct ClientTag>;

struct PrepareLimits {
  Duration slow_after = std::chrono::milliseconds(50);  // run time after which a request is slow
  Duration yield_after = std::chrono::seconds(1);       // its first share: then its worker gets a low priority
  Duration time_max = std::chrono::seconds(30);    // run time after which it is killed; stopped time does not count
  Duration turn = std::chrono::milliseconds(100);  // run time of a slow request before another takes its turn
  int slow_max = 4;                                // most workers with slow requests; more requests wait
  int slow_running_max = 1;                        // most of them that run at a time
};

struct PoolAction {
  enum class Kind {
    kStart,     // start `worker`
    kGive,      // give `request` to `worker`, which is idle
    kStop,      // stop `worker` for a while
    kContinue,  // continue `worker`
    kYield,     // give `worker` a low priority
    kKill,      // kill `worker`; its later output is ignored
    kTimeOut,   // `request` has run too long and fails
  } kind;
  WorkerId worker;
  RequestId request;
};

class PreparePool {
 public:
  explicit PreparePool(const PrepareLimits& limits);

  // ---- events; each may add actions
  void add(RequestId request, ClientId client, TimePoint now);
  // False: the request is not here, or not any more.
  bool cancel(RequestId request, TimePoint now);
  // A worker has answered. Returns its request, or none if it was canceled. `retire`: the worker must not be used
  // again.
  std::optional<RequestId> answered(WorkerId worker, bool retire, TimePoint now);
  // A worker has ended. Returns its request, or none if it was canceled or there was none.
  std::optional<RequestId> ended(WorkerId worker, TimePoint now);
  // Time has passed. To be called at wakes_at(); calls before that do no harm.
  void advance(TimePoint now);

  // The actions to carry out now, in this order.
  std::vector<PoolAction> take_actions() { return std::exchange(actions_, {}); }
  TimePoint wakes_at() const;  // the next advance(); kNever: only after an event

 private:
  struct Job {
    RequestId request{};
    ClientId client{};
    int shares = 0;  // how often it lost its worker after its share
  };
  struct Worker {
    WorkerId id;
    Job job{};          // its request is 0: idle
    TimePoint since{};  // when it was given or last continued
    Duration before{};  // run time before it was last stopped
    bool slow = false;
    bool stopped = false;
    bool yields = false;  // its request has had its share
    bool served = false;  // it has answered at least once
    bool busy() const { return job.request.value != 0; }
    Duration ran(TimePoint now) const { return stopped ? before : before + (now - since); }
  };

  void settle(TimePoint now);
  void find_slow(TimePoint now);
  void take_turns(TimePoint now);
  void give_out(TimePoint now);
  bool give_slow(TimePoint now);
  void keep_warm();
  void give(Worker& worker, const Job& job, bool slow, TimePoint now);
  void stop(Worker& worker, TimePoint now);
  void resume(Worker& worker, TimePoint now);
  void kill(WorkerId id);
  Worker& start();
  Worker* find(WorkerId id);
  Worker* idle();
  Worker* loser_to(const Job& job, TimePoint now);
  bool one_runs() const;  // a request that is not slow is running
  int count_slow() const;
  int count_slow(ClientId client) const;
  Duration share_of(const Job& job) const;
  void act(PoolAction::Kind kind, WorkerId worker, RequestId request = {}) {
    actions_.push_back({kind, worker, request});
  }

  const PrepareLimits limits_;
  std::vector<Worker> workers_;          // in order of start, without killed ones
  std::deque<std::deque<Job>> waiting_;  // of each client that waits, in order of their turns; none is empty
  std::deque<Job> slow_waiting_;         // known to be slow; started again when a worker is there for them
  std::vector<PoolAction> actions_;
  std::uint64_t last_worker_ = 0;
  bool workers_live_ = true;  // false: a worker ended before it was given a request
};

}  // namespace drover
