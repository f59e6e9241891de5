#include "policy/fair_queue.h"

#include <algorithm>

#include "base/check.h"

namespace drover {

namespace {

// Weight of the newest service time in the mean.
constexpr int kMeanWeight = 8;

int level_of(Priority priority) {
  switch (priority) {
    case Priority::kHigh:
      return 1;
    case Priority::kNormal:
      return 2;
    case Priority::kLow:
      return 3;
  }
  return 2;
}

// What service costs a flow of this weight, on the virtual clock.
std::int64_t cost_of(Duration service, double weight) {
  return static_cast<std::int64_t>(static_cast<double>(service.count()) / weight);
}

}  // namespace

void FairQueue::push(Waiter& waiter, TimePoint now) {
  Flow& flow = flow_of(waiter);
  waiter.flow = &flow;
  waiter.replay = false;
  waiter.place = flow.waiting.insert(flow.waiting.end(), &waiter);
  ++size_;
  if (flow.waiting.size() == 1) list(flow, now);
}

void FairQueue::remove(Waiter& waiter, TimePoint now) {
  --size_;
  if (waiter.replay) {
    replays_.erase(waiter.place);
    forget_if_unused();
    return;
  }
  Flow& flow = *waiter.flow;
  const bool was_first = flow.waiting.front() == &waiter;
  flow.waiting.erase(waiter.place);
  if (was_first) list(flow, now);
  forget_if_unused();
}

FairQueue::Waiter* FairQueue::next(TimePoint now) {
  while (!raises_.empty() && raises_.begin()->first <= now) list(*raises_.begin()->second, now);
  if (!replays_.empty()) return replays_.front();
  return ready_.empty() ? nullptr : ready_.begin()->second->waiting.front();
}

void FairQueue::start(Waiter& waiter, TimePoint now) {
  --size_;
  if (waiter.replay) {
    replays_.erase(waiter.place);
    waiter.replay = false;
    Flow& flow = flow_of(waiter);
    waiter.flow = &flow;
    charge(flow, waiter, now);
    return;
  }
  Flow& flow = *waiter.flow;
  DROVER_CHECK(flow.waiting.front() == &waiter);
  flow.waiting.pop_front();
  if (std::get<0>(flow.key) == flow.base_level) advance(flow.base_level, flow.virtual_time);
  charge(flow, waiter, now);
}

void FairQueue::charge(Flow& flow, Waiter& waiter, TimePoint now) {
  unlist(flow);
  ++running_;
  ++flow.running;
  flow.last_start = ++starts_;
  waiter.started = now;
  waiter.charged = std::max(mean_service_, Duration(1));  // so that a turn always costs something
  flow.virtual_time = std::max(flow.virtual_time, virtual_now_[flow.base_level]) + cost_of(waiter.charged, flow.weight);
  list(flow, now);
}

void FairQueue::end(Waiter& waiter, Ending ending, TimePoint now) {
  Flow& flow = *waiter.flow;
  const Duration service = now - waiter.started;
  if (ending == Ending::kComplete) {
    mean_service_ = measured_ ? mean_service_ + (service - mean_service_) / kMeanWeight : service;
    measured_ = true;
  }
  flow.virtual_time += cost_of(service - waiter.charged, flow.weight);
  flow.last_end = now;
  release(waiter);
  list(flow, now);
  forget_if_unused();
}

void FairQueue::put_back(Waiter& waiter, TimePoint now) {
  Flow& flow = *waiter.flow;
  flow.virtual_time -= cost_of(waiter.charged, flow.weight);
  release(waiter);
  ++size_;
  waiter.replay = true;
  const auto later = std::find_if(replays_.begin(), replays_.end(),
                                  [&](const Waiter* other) { return other->sequence > waiter.sequence; });
  waiter.place = replays_.insert(later, &waiter);
  list(flow, now);
}

void FairQueue::release(Waiter& waiter) {
  --running_;
  --waiter.flow->running;
  waiter.flow = nullptr;
}

FairQueue::Flow& FairQueue::flow_of(const Waiter& waiter) {
  const int level = level_of(waiter.priority);
  const auto [it, is_new] = flows_.try_emplace({level, waiter.client});
  Flow& flow = it->second;
  if (is_new) {
    flow.id = ++flows_made_;
    flow.client = waiter.client;
    flow.base_level = level;
    flow.weight = waiter.weight;
    flow.virtual_time = virtual_now_[level];
  }
  return flow;
}

// Puts the flow where it belongs now: among the ready ones, among the idle ones, or nowhere while it only runs. May
// forget it.
void FairQueue::list(Flow& flow, TimePoint now) {
  unlist(flow);
  if (flow.waiting.empty()) {
    if (flow.running == 0) set_idle(flow);
    return;
  }
  int level = flow.base_level;
  const TimePoint since = neglected_since(flow);
  if (ageing_ > Duration::zero() && flow.running == 0) {
    const auto raises = std::max<std::int64_t>(0, (now - since) / ageing_);
    level = static_cast<int>(std::max<std::int64_t>(0, level - raises));
    if (level > 0) {
      flow.raised_at = since + ageing_ * (raises + 1);
      raises_.insert({flow.raised_at, &flow});
    }
  }
  std::int64_t virtual_time = 0;
  if (level == 0) {
    virtual_time = since.time_since_epoch().count();
  } else if (level == flow.base_level) {
    // Whoever waits competes from now on; what it did not use earlier is not saved up.
    flow.virtual_time = std::max(flow.virtual_time, virtual_now_[level]);
    virtual_time = flow.virtual_time;
  } else {
    virtual_time = virtual_now_[level];
  }
  flow.key = {level, virtual_time, flow.last_start, flow.waiting.front()->sequence};
  ready_.emplace(flow.key, &flow);
  flow.listed = true;
}

void FairQueue::unlist(Flow& flow) {
  if (flow.listed) ready_.erase(flow.key);
  if (flow.raised_at != kNever) raises_.erase({flow.raised_at, &flow});
  if (flow.idle) idle_[flow.base_level].erase({flow.virtual_time, &flow});
  flow.listed = false;
  flow.idle = false;
  flow.raised_at = kNever;
}

void FairQueue::set_idle(Flow& flow) {
  auto& idle = idle_[flow.base_level];
  if (flow.virtual_time <= virtual_now_[flow.base_level]) {
    forget(flow);
    return;
  }
  flow.idle = true;
  idle.insert({flow.virtual_time, &flow});
  if (idle.size() > kIdleFlowsMax) forget(*idle.begin()->second);
}

void FairQueue::forget(Flow& flow) {
  unlist(flow);
  flows_.erase(flows_.find({flow.base_level, flow.client}));
}

// When nobody waits or runs, everybody starts anew.
void FairQueue::forget_if_unused() {
  if (size_ > 0 || running_ > 0) return;
  for (auto& idle : idle_) idle.clear();
  flows_.clear();
}

void FairQueue::advance(int level, std::int64_t virtual_time) {
  virtual_now_[level] = std::max(virtual_now_[level], virtual_time);
  auto& idle = idle_[level];
  while (!idle.empty() && idle.begin()->first <= virtual_now_[level]) forget(*idle.begin()->second);
}

// Start of the flow's present starvation: it has a waiting request, and none running.
TimePoint FairQueue::neglected_since(const Flow& flow) const {
  return std::max(flow.waiting.front()->arrived, flow.last_end);
}

// Calls `visit` for each that waits, in the order of service, until it returns false. What a step costs does not depend
// on how many wait.
template <typename Visit>
void FairQueue::walk(Visit visit) const {
  for (const Waiter* waiter : replays_)
    if (!visit(*waiter)) return;
  struct Cursor {
    const Flow* flow;
    std::list<Waiter*>::const_iterator at;
    std::int64_t virtual_time;
  };
  std::map<Key, Cursor> served;  // flows that have had a turn in this walk; the others are still as in ready_
  auto fresh = ready_.begin();
  std::uint64_t starts = starts_;
  while (fresh != ready_.end() || !served.empty()) {
    Cursor cursor{};
    if (served.empty() || (fresh != ready_.end() && fresh->first < served.begin()->first)) {
      const Flow* flow = fresh->second;
      cursor = {flow, flow->waiting.begin(), flow->virtual_time};
      ++fresh;
    } else {
      cursor = served.begin()->second;
      served.erase(served.begin());
    }
    if (!visit(**cursor.at)) return;
    if (++cursor.at == cursor.flow->waiting.end()) continue;
    const int level = cursor.flow->base_level;
    cursor.virtual_time =
        std::max(cursor.virtual_time, virtual_now_[level]) + cost_of(mean_service_, cursor.flow->weight);
    served.emplace(Key(level, cursor.virtual_time, ++starts, (*cursor.at)->sequence), cursor);
  }
}

std::vector<const FairQueue::Waiter*> FairQueue::order() const {
  std::vector<const Waiter*> order;
  order.reserve(size_);
  walk([&](const Waiter& waiter) {
    order.push_back(&waiter);
    return true;
  });
  return order;
}

std::size_t FairQueue::position(const Waiter& waiter) const {
  const bool alone = ready_.size() == 1 && !waiter.replay;
  if (alone && waiter.flow->waiting.back() == &waiter) return size_;
  std::size_t position = 0;
  bool found = false;
  walk([&](const Waiter& other) {
    ++position;
    found = &other == &waiter;
    return !found && position < kExactPositionsMax;
  });
  return found ? position : size_;
}

}  // namespace drover
