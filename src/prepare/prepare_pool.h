// Decides which worker process prepares which request, and when one is stopped or killed, so that no request holds up
// the others' preparation. Pure: no processes, threads or clock; prepare_driver.h does what this decides.
//
// Requests are prepared one after the other, in the order they came. One that takes long becomes slow: it keeps its
// worker, and the next one gets another. Of the slow ones only a few run at a time, those that have run for the
// shortest time first; the others are stopped meanwhile. One that runs for too long is killed.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace drover {

// A worker process for as long as its runner lives; never reused.
using WorkerId = Id<struct WorkerTag>;

struct PrepareLimits {
  Duration slow_after = std::chrono::milliseconds(50);  // a request that runs for so long lets the next one begin
  Duration yield_after = std::chrono::seconds(1);       // it then runs with a low priority
  Duration time_max = std::chrono::seconds(30);         // it is killed; the time that it is stopped does not count
  Duration turn = std::chrono::milliseconds(100);       // of slow ones that take turns
  int slow_max = 4;                                     // workers with slow requests; more requests wait
  int slow_running_max = 1;                             // of them
};

struct PoolAction {
  enum class Kind {
    kStart,     // a worker
    kGive,      // `request` to a worker that has none
    kStop,      // a worker for a while
    kContinue,  // it
    kYield,     // give it a low priority
    kKill,      // it: whatever comes of it after this is of no interest
    kTimeOut,   // `request` has run for too long: it fails
  } kind;
  WorkerId worker;
  RequestId request;
};

class PreparePool {
 public:
  explicit PreparePool(const PrepareLimits& limits);

  // ---- events. Actions follow from each.
  void add(RequestId request, TimePoint now);
  // False: it is not here, or not any more.
  bool cancel(RequestId request, TimePoint now);
  // A worker has answered. Gives the request that this was about, or none if nobody waits for it. `retire`: the worker
  // is not to be used again.
  std::optional<RequestId> answered(WorkerId worker, bool retire, TimePoint now);
  // A worker has ended. Gives the request that it had, if it was wanted.
  std::optional<RequestId> ended(WorkerId worker, TimePoint now);
  // Time has passed, at least up to wakes_at().
  void advance(TimePoint now);

  // What is to be done now, in this order.
  std::vector<PoolAction> take_actions() { return std::exchange(actions_, {}); }
  TimePoint wakes_at() const;  // kNever: only an event changes anything

 private:
  struct Worker {
    WorkerId id;
    RequestId request{};  // 0: idle
    TimePoint since{};    // it was given, or continued
    Duration before{};    // that it had run until it was stopped
    bool slow = false;
    bool stopped = false;
    bool yields = false;
    bool served = false;  // something, once
    bool busy() const { return request.value != 0; }
    Duration ran(TimePoint now) const { return stopped ? before : before + (now - since); }
  };

  void settle(TimePoint now);
  void find_slow(TimePoint now);
  void take_turns(TimePoint now);
  void give_out(TimePoint now);
  void keep_warm();
  void give(Worker& worker, RequestId request, bool slow, TimePoint now);
  void stop(Worker& worker, TimePoint now);
  void resume(Worker& worker, TimePoint now);
  void kill(WorkerId id);
  Worker& start();
  Worker* find(WorkerId id);
  Worker* idle();
  bool one_runs() const;  // a request that is not slow
  int count_slow() const;
  void act(PoolAction::Kind kind, WorkerId worker, RequestId request = {}) {
    actions_.push_back({kind, worker, request});
  }

  const PrepareLimits limits_;
  std::vector<Worker> workers_;         // in the order they were started; those that were killed are gone
  std::deque<RequestId> waiting_;       // in the order they came
  std::deque<RequestId> slow_waiting_;  // known to be slow, and begun anew when a slow one has ended
  std::vector<PoolAction> actions_;
  std::uint64_t last_worker_ = 0;
  bool workers_live_ = true;  // false: one ended before it was given anything
};

}  // namespace drover
