// The requests that wait for one model's slots, and whose turn is next. Pure; the dispatcher owns one per model.
//
// Clients share the slots by start-time fair queueing: each flow (a client at one priority) has a virtual time, the
// service it has had, divided by its client's weight; the flow that has had least goes next, and one that comes back
// from idleness starts where the others are, so that it neither waits behind a backlog nor saves up for a burst. Cost
// is measured service time: it is charged as the mean when a request starts and corrected when it ends. Within a flow
// the order is that of arrival.
//
// Priorities are strict, with ageing: a flow that has had no service for `ageing` is raised by one level, and above
// the highest there is one more level, which is served in order of need; so nothing starves. What counts is that the
// flow waits in vain, not the age of its requests: the tail of a client's long backlog is old, but not neglected.
//
// Requests of a runner that died come before everything else, in their order of arrival.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace drover {

class FairQueue {
 private:
  struct Flow;

 public:
  // A request as its queue knows it. Its owner keeps it in one place in memory from push() until it is removed or has
  // ended.
  struct Waiter {
    RequestId request;
    std::string client;
    double weight = 1;  // of the client: its share of the slots beside others; above 0
    Priority priority = Priority::kNormal;
    std::uint64_t sequence = 0;  // order of arrival over all requests
    TimePoint arrived;

   private:
    friend class FairQueue;
    Flow* flow = nullptr;
    std::list<Waiter*>::iterator place;  // in flow->waiting or in replays_
    bool replay = false;
    Duration charged{};
    TimePoint started;
  };

  // How a service ended.
  enum class Ending { kComplete, kCanceled };

  // Zero ageing: priorities are strict for ever.
  explicit FairQueue(Duration ageing) : ageing_(ageing) {}
  FairQueue(const FairQueue&) = delete;
  FairQueue& operator=(const FairQueue&) = delete;

  void push(Waiter& waiter, TimePoint now);
  // A waiting one leaves without service.
  void remove(Waiter& waiter, TimePoint now);
  // Whose turn it is; nullptr when nobody waits.
  Waiter* next(TimePoint now);
  // The one that next() named gets a slot.
  void start(Waiter& waiter, TimePoint now);
  // It has given its slot back.
  void end(Waiter& waiter, Ending ending, TimePoint now);
  // Its runner died: it waits again, before all others, and is not charged for the attempt.
  void put_back(Waiter& waiter, TimePoint now);

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Mean service time of those that completed, newest weighing most; a guess before the first one.
  Duration mean_service() const { return mean_service_; }
  // Those that wait, in the order they will be served if all take equally long and nobody else comes.
  std::vector<const Waiter*> order() const;
  // The place of a waiting one in order(), from 1 on; beyond kExactPositionsMax the last place, which is the worst that
  // it can be. So each arrival of a long queue is told its position for the same price.
  std::size_t position(const Waiter& waiter) const;
  static constexpr std::size_t kExactPositionsMax = 256;

 private:
  // Levels of service: 0 is for flows that have aged beyond the highest priority, the others are priorities plus one.
  static constexpr int kLevels = 4;
  // Flows without requests that are remembered for the service they have had in excess; beyond that it is forgiven.
  static constexpr std::size_t kIdleFlowsMax = 1024;

  // Order of service: level, virtual time, who was served longest ago, order of arrival.
  using Key = std::tuple<int, std::int64_t, std::uint64_t, std::uint64_t>;

  struct Flow {
    std::uint64_t id = 0;  // makes orders independent of addresses
    std::string client;
    int base_level = 0;
    double weight = 1;
    std::list<Waiter*> waiting;
    int running = 0;
    std::int64_t virtual_time = 0;  // nanoseconds of service divided by the weight, on the clock of its base level
    std::uint64_t last_start = 0;   // counts starts; 0: never
    TimePoint last_end{};
    bool listed = false;  // in ready_ (and ageing_)
    bool idle = false;    // in idle_
    Key key{};
    TimePoint raised_at = kNever;
  };
  // Orders (time, flow) independently of addresses.
  struct ByValueThenId {
    template <typename Value>
    bool operator()(const std::pair<Value, Flow*>& a, const std::pair<Value, Flow*>& b) const {
      return a.first != b.first ? a.first < b.first : a.second->id < b.second->id;
    }
  };

  template <typename Visit>
  void walk(Visit visit) const;
  Flow& flow_of(const Waiter& waiter);
  void charge(Flow& flow, Waiter& waiter, TimePoint now);
  void release(Waiter& waiter);
  void list(Flow& flow, TimePoint now);
  void unlist(Flow& flow);
  void set_idle(Flow& flow);
  void forget(Flow& flow);
  void forget_if_unused();
  void advance(int level, std::int64_t virtual_time);
  TimePoint neglected_since(const Flow& flow) const;

  Duration ageing_;
  std::size_t size_ = 0;
  std::size_t running_ = 0;
  std::list<Waiter*> replays_;
  std::map<std::pair<int, std::string>, Flow> flows_;
  std::map<Key, Flow*> ready_;                                   // flows with waiting requests
  std::set<std::pair<TimePoint, Flow*>, ByValueThenId> raises_;  // when a ready flow is raised by a level
  // Flows with nothing waiting or running that have had more than their share, by virtual time.
  std::array<std::set<std::pair<std::int64_t, Flow*>, ByValueThenId>, kLevels> idle_;
  std::array<std::int64_t, kLevels> virtual_now_{};  // virtual time of the last start at each level
  std::uint64_t flows_made_ = 0;
  std::uint64_t starts_ = 0;
  Duration mean_service_ = std::chrono::seconds(1);
  bool measured_ = false;
};

}  // namespace drover
