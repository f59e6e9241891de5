#include "prepare/prepare_pool.h"

#include <algorithm>

namespace drover {
namespace {

// One worker for the next request, and one for when that request becomes slow.
constexpr std::size_t kIdleMax = 2;
// A share does not grow beyond what any limit of time allows.
constexpr int kDoublingsMax = 5;

}  // namespace

PreparePool::PreparePool(const PrepareLimits& limits) : limits_(limits) {
  keep_warm();
}

// ---- events

void PreparePool::add(RequestId request, ClientId client, TimePoint now) {
  const auto is_theirs = [&](const std::deque<Job>& jobs) { return jobs.front().client == client; };
  auto jobs = std::find_if(waiting_.begin(), waiting_.end(), is_theirs);
  if (jobs == waiting_.end()) jobs = waiting_.emplace(waiting_.end());
  jobs->push_back({.request = request, .client = client});
  settle(now);
}

bool PreparePool::cancel(RequestId request, TimePoint now) {
  const auto is_it = [&](const Job& job) { return job.request == request; };
  bool here = std::erase_if(slow_waiting_, is_it) > 0;
  for (std::deque<Job>& jobs : waiting_) here |= std::erase_if(jobs, is_it) > 0;
  std::erase_if(waiting_, [](const std::deque<Job>& jobs) { return jobs.empty(); });
  const auto has_it = [&](const Worker& worker) { return is_it(worker.job); };
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
  const RequestId request = std::exchange(worker->job, Job{}).request;
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
  const RequestId request = worker->job.request;
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
    if (!worker.yields) at(share_of(worker.job));
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
      act(PoolAction::Kind::kTimeOut, worker.id, worker.job.request);
      gone.push_back(worker.id);
    } else if (!worker.slow && worker.ran(now) >= limits_.slow_after) {
      if (count_slow() < limits_.slow_max) {
        worker.slow = true;
      } else {
        slow_waiting_.push_back(worker.job);
        gone.push_back(worker.id);
      }
    } else if (worker.slow && !worker.yields && worker.ran(now) >= share_of(worker.job)) {
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
  while (give_slow(now)) {
  }
  if (waiting_.empty() || one_runs()) return;
  std::deque<Job> jobs = std::move(waiting_.front());
  waiting_.pop_front();
  Worker* worker = idle();
  give(worker != nullptr ? *worker : start(), jobs.front(), false, now);
  jobs.pop_front();
  if (!jobs.empty()) waiting_.push_back(std::move(jobs));
}

// Begins a slow request again. Of those that a worker is there for, or can be taken for: the one whose client has the
// fewest workers, then the one that lost a worker least often. False: there is none.
bool PreparePool::give_slow(TimePoint now) {
  const bool room = count_slow() < limits_.slow_max;
  const auto rank = [&](const Job& job) { return std::pair(count_slow(job.client), job.shares); };
  auto next = slow_waiting_.end();
  for (auto each = slow_waiting_.begin(); each != slow_waiting_.end(); ++each) {
    if (!room && loser_to(*each, now) == nullptr) continue;
    if (next == slow_waiting_.end() || rank(*each) < rank(*next)) next = each;
  }
  if (next == slow_waiting_.end()) return false;
  const Job job = *next;
  slow_waiting_.erase(next);
  if (!room) {
    const Worker& loser = *loser_to(job, now);
    slow_waiting_.push_back(loser.job);
    if (loser.yields) ++slow_waiting_.back().shares;
    kill(loser.id);
  }
  give(start(), job, true, now);
  return true;
}

// The worker that a slow request may take: one of the client with the most workers, and of these the one whose end
// wastes least.
PreparePool::Worker* PreparePool::loser_to(const Job& job, TimePoint now) {
  const int own = count_slow(job.client);
  Worker* found = nullptr;
  int most = 0;
  for (Worker& worker : workers_) {
    if (!worker.slow) continue;
    const int held = count_slow(worker.job.client);
    const bool comes_first = held > own || (worker.job.client == job.client && job.shares <= worker.job.shares);
    if (held <= own + 1 && !(worker.yields && comes_first)) continue;
    if (found != nullptr && (held < most || (held == most && worker.ran(now) >= found->ran(now)))) continue;
    found = &worker;
    most = held;
  }
  return found;
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

void PreparePool::give(Worker& worker, const Job& job, bool slow, TimePoint now) {
  worker.job = job;
  worker.since = now;
  worker.before = Duration::zero();
  worker.slow = slow;
  act(PoolAction::Kind::kGive, worker.id, job.request);
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

int PreparePool::count_slow(ClientId client) const {
  const auto is_theirs = [&](const Worker& worker) { return worker.slow && worker.job.client == client; };
  return static_cast<int>(std::count_if(workers_.begin(), workers_.end(), is_theirs));
}

Duration PreparePool::share_of(const Job& job) const {
  return limits_.yield_after * (1 << std::min(job.shares, kDoublingsMax));
}

}  // namespace drover
