#include "prepare/prepare_pool.h"

#include <algorithm>

namespace drover {
namespace {

// One worker for the next request, and one for when that request becomes slow.
constexpr std::size_t kIdleMax = 2;

}  // namespace

PreparePool::PreparePool(const PrepareLimits& limits) : limits_(limits) {
  keep_warm();
}

// ---- events

void PreparePool::add(RequestId request, TimePoint now) {
  waiting_.push_back(request);
  settle(now);
}

bool PreparePool::cancel(RequestId request, TimePoint now) {
  bool here = std::erase(waiting_, request) + std::erase(slow_waiting_, request) > 0;
  const auto has_it = [&](const Worker& worker) { return worker.request == request; };
  const auto found = std::find_if(workers_.begin(), workers_.end(), has_it);
  if (found != workers_.end()) {
    kill(found->id);
    here = true;
  }
  if (here) settle(now);
  return here;
}

std::optional<RequestId> PreparePool::answered(WorkerId id, bool retire, TimePoint now) {
  Worker* worker = find(id);
  if (worker == nullptr || !worker->busy()) return std::nullopt;
  const RequestId request = std::exchange(worker->request, RequestId{});
  workers_live_ = true;
  worker->served = true;
  worker->slow = false;
  // The worker answered and was stopped at the same time.
  if (worker->stopped) resume(*worker, now);
  if (retire || worker->yields) kill(id);
  settle(now);
  return request;
}

std::optional<RequestId> PreparePool::ended(WorkerId id, TimePoint now) {
  Worker* worker = find(id);
  if (worker == nullptr) return std::nullopt;
  const RequestId request = worker->request;
  if (!worker->busy() && !worker->served) workers_live_ = false;
  std::erase_if(workers_, [&](const Worker& each) { return each.id == id; });
  settle(now);
  return request.value != 0 ? std::optional(request) : std::nullopt;
}

void PreparePool::advance(TimePoint now) {
  settle(now);
}

TimePoint PreparePool::wakes_at() const {
  std::optional<Duration> shortest;  // run time of a stopped worker
  for (const Worker& worker : workers_) {
    if (worker.stopped) shortest = std::min(worker.before, shortest.value_or(worker.before));
  }
  TimePoint next = kNever;
  for (const Worker& worker : workers_) {
    if (!worker.busy() || worker.stopped) continue;
    const auto at = [&](Duration ran) { next = std::min(next, worker.since + (ran - worker.before)); };
    if (!worker.slow) {
      at(limits_.slow_after);
      continue;
    }
    if (!worker.yields) at(limits_.yield_after);
    if (shortest) at(*shortest + limits_.turn);
    at(limits_.time_max);
  }
  return next;
}

// ---- rules

void PreparePool::settle(TimePoint now) {
  find_slow(now);
  give_out(now);
  take_turns(now);
  keep_warm();
}

void PreparePool::find_slow(TimePoint now) {
  std::vector<WorkerId> gone;
  for (Worker& worker : workers_) {
    if (!worker.busy() || worker.stopped) continue;
    if (worker.ran(now) >= limits_.time_max) {
      act(PoolAction::Kind::kTimeOut, worker.id, worker.request);
      gone.push_back(worker.id);
    } else if (!worker.slow && worker.ran(now) >= limits_.slow_after) {
      if (count_slow() < limits_.slow_max) {
        worker.slow = true;
      } else {
        slow_waiting_.push_back(worker.request);
        gone.push_back(worker.id);
      }
    } else if (worker.slow && !worker.yields && worker.ran(now) >= limits_.yield_after) {
      worker.yields = true;
      act(PoolAction::Kind::kYield, worker.id);
    }
  }
  for (const WorkerId id : gone) kill(id);
}

// The slow requests with the shortest run time run; the others are stopped.
void PreparePool::take_turns(TimePoint now) {
  while (true) {
    Worker* longest = nullptr;   // among the running workers
    Worker* shortest = nullptr;  // among the stopped workers
    int running = 0;
    for (Worker& worker : workers_) {
      if (!worker.slow) continue;
      if (worker.stopped) {
        if (shortest == nullptr || worker.ran(now) < shortest->ran(now)) shortest = &worker;
      } else {
        ++running;
        if (longest == nullptr || worker.ran(now) >= longest->ran(now)) longest = &worker;
      }
    }
    if (running > limits_.slow_running_max) {
      stop(*longest, now);
    } else if (shortest == nullptr) {
      return;
    } else if (running < limits_.slow_running_max) {
      resume(*shortest, now);
    } else if (longest->ran(now) >= shortest->ran(now) + limits_.turn) {
      stop(*longest, now);
      resume(*shortest, now);
    } else {
      return;
    }
  }
}

void PreparePool::give_out(TimePoint now) {
  while (!slow_waiting_.empty() && count_slow() < limits_.slow_max) {
    give(start(), slow_waiting_.front(), true, now);
    slow_waiting_.pop_front();
  }
  if (waiting_.empty() || one_runs()) return;
  Worker* worker = idle();
  give(worker != nullptr ? *worker : start(), waiting_.front(), false, now);
  waiting_.pop_front();
}

// Keeps a spare worker for the next request, and ends workers that are not needed.
void PreparePool::keep_warm() {
  std::size_t idle_count = 0;
  std::vector<WorkerId> spare;
  for (const Worker& worker : workers_) {
    if (!worker.busy() && ++idle_count > kIdleMax) spare.push_back(worker.id);
  }
  for (const WorkerId id : spare) kill(id);
  if (idle_count == 0 && !one_runs() && workers_live_) start();
}

// ---- workers

void PreparePool::give(Worker& worker, RequestId request, bool slow, TimePoint now) {
  worker.request = request;
  worker.since = now;
  worker.before = Duration::zero();
  worker.slow = slow;
  act(PoolAction::Kind::kGive, worker.id, request);
}

void PreparePool::stop(Worker& worker, TimePoint now) {
  worker.before = worker.ran(now);
  worker.stopped = true;
  act(PoolAction::Kind::kStop, worker.id);
}

void PreparePool::resume(Worker& worker, TimePoint now) {
  worker.since = now;
  worker.stopped = false;
  act(PoolAction::Kind::kContinue, worker.id);
}

void PreparePool::kill(WorkerId id) {
  act(PoolAction::Kind::kKill, id);
  std::erase_if(workers_, [&](const Worker& each) { return each.id == id; });
}

PreparePool::Worker& PreparePool::start() {
  Worker& worker = workers_.emplace_back();
  worker.id = {++last_worker_};
  act(PoolAction::Kind::kStart, worker.id);
  return worker;
}

PreparePool::Worker* PreparePool::find(WorkerId id) {
  const auto found = std::find_if(workers_.begin(), workers_.end(), [&](const Worker& each) { return each.id == id; });
  return found == workers_.end() ? nullptr : &*found;
}

// The oldest idle worker: its caches hold the most.
PreparePool::Worker* PreparePool::idle() {
  const auto found = std::find_if(workers_.begin(), workers_.end(), [](const Worker& each) { return !each.busy(); });
  return found == workers_.end() ? nullptr : &*found;
}

bool PreparePool::one_runs() const {
  return std::any_of(workers_.begin(), workers_.end(), [](const Worker& each) { return each.busy() && !each.slow; });
}

int PreparePool::count_slow() const {
  return static_cast<int>(
      std::count_if(workers_.begin(), workers_.end(), [](const Worker& each) { return each.slow; }));
}

}  // namespace drover
