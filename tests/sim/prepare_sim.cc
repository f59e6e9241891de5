// The prepare pool under random load: requests that take long, never end, crash their worker, or are canceled.
// `prepare_sim` runs many seeds; `prepare_sim --seed S` repeats one.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string_view>

#include "prepare/prepare_pool.h"

namespace drover {
namespace {

using std::chrono::milliseconds;

constexpr int kSeeds = 3000;
constexpr int kClients = 4;
std::optional<std::uint64_t> only_seed;

// A rule that is broken on purpose.
enum class Mutation {
  kNone,
  kSlowIsNotNoticed,   // a slow request makes the others wait
  kNothingIsStopped,   // all slow requests run at once
  kNothingIsKilled,    // a request that was given up goes on
  kCancelIsForgotten,  // a canceled request is still prepared
  kEndIsForgotten,     // the end of a worker is not reported
  kNoTimeIsTooLong,    // a request that never ends is not killed
  kAllAreOneClient,    // who has many requests makes the others wait
  kNoShareEnds,        // a slow request keeps its worker while others wait for one
};

class PrepareWorld {
 public:
  explicit PrepareWorld(std::uint64_t seed, Mutation mutation = Mutation::kNone)
      : random_(seed), mutation_(mutation), limits_(limits_of(random_, mutation)), pool_(limits_) {}

  struct Counts {
    int answered = 0, canceled = 0, died = 0, timed_out = 0, overtaken = 0, stopped = 0, displaced = 0;
  };
  const Counts& counts() const { return counts_; }

  // The broken promise; empty: none.
  std::string run() {
    act();
    const int requests = between(20, 80);
    TimePoint next_arrival = now_;
    for (int i = 0; i < requests || !requests_.empty();) {
      TimePoint next = std::min(pool_.wakes_at(), i < requests ? next_arrival : kNever);
      for (const auto& [id, worker] : workers_) next = std::min(next, due(worker));
      for (const auto& [at, request] : cancels_) next = std::min(next, at);
      if (next == kNever) fail(fmt::format("{} requests wait for nothing", requests_.size()));
      if (!broken_.empty()) return broken_;
      spins_ = next > now_ ? 0 : spins_ + 1;
      if (spins_ > 1000) return "it is always due, and does nothing";
      now_ = std::max(now_, next);
      if (now_ > TimePoint{} + std::chrono::hours(2)) return "requests do not end";
      if (i < requests && now_ >= next_arrival) {
        arrive({static_cast<std::uint64_t>(++i)});
        // Now and then many requests arrive at once, and now and then none for a while.
        next_arrival = now_ + milliseconds(chance(0.5) ? 0 : chance(0.9) ? between(0, 40) : between(0, 4000));
      }
      end_workers();
      cancel_requests();
      if (pool_.wakes_at() <= now_) pool_.advance(now_);
      act();
      check();
      if (!broken_.empty()) return broken_;
    }
    return broken_;
  }

 private:
  enum class Fate { kAnswered, kDies, kNeverEnds };
  struct Request {
    ClientId client;
    TimePoint arrived;
    Duration needs{};  // run time
    Fate fate = Fate::kAnswered;
    TimePoint begun = kNever;
    int ahead = 0;      // requests that were not slow yet when it arrived, or that began while it waited
    int shares = 0;     // how often it lost its worker after its share
    bool runs = false;  // has a worker
    bool waits() const { return begun == kNever; }
  };
  struct Worker {
    std::optional<RequestId> request;
    Duration left{};  // run time until it answers or dies
    Duration ran{};
    TimePoint since{};
    bool stopped = false;
    bool yields = false;
    bool known_slow = false;  // its request has begun before
  };

  static PrepareLimits limits_of(std::mt19937_64& random, Mutation mutation) {
    PrepareLimits limits;
    limits.slow_max = std::uniform_int_distribution(1, 5)(random);
    limits.slow_running_max = std::uniform_int_distribution(1, limits.slow_max)(random);
    if (mutation == Mutation::kSlowIsNotNoticed) limits.slow_after = std::chrono::seconds(3);
    if (mutation == Mutation::kNoTimeIsTooLong) limits.time_max = std::chrono::hours(1);
    if (mutation == Mutation::kNoShareEnds) limits.yield_after = std::chrono::hours(1);
    return limits;
  }

  int between(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }
  bool chance(double part) { return std::bernoulli_distribution(part)(random_); }
  void fail(std::string what) {
    if (broken_.empty()) broken_ = std::move(what);
  }

  TimePoint due(const Worker& worker) const {
    if (!worker.request || worker.stopped || worker.left == Duration::max()) return kNever;
    return worker.since + worker.left * (worker.yields ? 3 : 1);
  }

  void arrive(RequestId id) {
    // One client sends most of them.
    Request request{.client = {static_cast<std::uint64_t>(std::max(1, between(-kClients, kClients)))}, .arrived = now_};
    const int kind = between(0, 99);
    request.needs = milliseconds(kind < 70 ? between(0, 40) : between(60, 5000));
    request.fate = kind >= 96 ? Fate::kNeverEnds : kind >= 92 || kind < 4 ? Fate::kDies : Fate::kAnswered;
    bool first = true;
    for (const auto& [other, before] : requests_) {
      if (!before.waits() && now_ - before.begun <= slow_after()) ++request.ahead;
      if (before.waits() && before.client == request.client) first = false;
    }
    if (first) passed_[request.client].clear();
    requests_.emplace(id, request);
    if (chance(0.1)) cancels_.emplace(now_ + milliseconds(between(0, 1000)), id);
    pool_.add(id, mutation_ == Mutation::kAllAreOneClient ? ClientId{} : request.client, now_);
    act();
  }

  void end_workers() {
    while (true) {
      const auto is_due = [&](const auto& each) { return due(each.second) <= now_; };
      const auto found = std::find_if(workers_.begin(), workers_.end(), is_due);
      if (found == workers_.end()) break;
      end_worker(found->first);
      act();
    }
    for (const WorkerId id : std::exchange(killed_, {})) {
      if (pool_.ended(id, now_)) fail("a worker that was killed had a request");
    }
    if (chance(0.05) && pool_.answered({1'000'000}, false, now_)) fail("an answer of nobody is taken");
    if (chance(0.02)) die_idle();
    act();
  }

  void end_worker(WorkerId id) {
    Worker& worker = workers_.at(id);
    const RequestId request = *worker.request;
    const auto found = requests_.find(request);
    if (found == requests_.end()) {  // its worker should have been killed
      workers_.erase(id);
    } else if (found->second.fate == Fate::kAnswered) {
      worker.request.reset();
      ++counts_.answered;
      took_answer(request, pool_.answered(id, chance(0.02), now_));
    } else {
      workers_.erase(id);
      ++counts_.died;
      if (mutation_ != Mutation::kEndIsForgotten) took_answer(request, pool_.ended(id, now_));
    }
  }

  void die_idle() {
    const auto idle =
        std::find_if(workers_.begin(), workers_.end(), [](const auto& each) { return !each.second.request; });
    if (idle == workers_.end()) return;
    const WorkerId id = idle->first;
    workers_.erase(idle);
    none_may_be_there_ = true;
    if (pool_.ended(id, now_)) fail("a worker without a request had one");
  }

  void took_answer(RequestId request, std::optional<RequestId> pools) {
    const auto found = requests_.find(request);
    if (pools != request || found == requests_.end()) return fail("an answer goes to another request");
    const Request& of = found->second;
    // A client's fast requests are prepared in order of arrival.
    RequestId& last_quick = last_quick_[of.client];
    if (of.needs < slow_after()) {
      if (request < last_quick && of.fate == Fate::kAnswered) fail("a quick request was overtaken by another one");
      last_quick = std::max(last_quick, request);
    } else if (request < last_quick) {
      ++counts_.overtaken;
    }
    requests_.erase(found);
  }

  void cancel_requests() {
    while (!cancels_.empty() && cancels_.begin()->first <= now_) {
      const RequestId request = cancels_.begin()->second;
      cancels_.erase(cancels_.begin());
      const bool here = requests_.count(request) > 0;
      if (mutation_ == Mutation::kCancelIsForgotten) {
        requests_.erase(request);
        continue;
      }
      if (pool_.cancel(request, now_) != here) fail("a cancel finds what is not there, or not what is");
      if (!here) continue;
      ++counts_.canceled;
      requests_.erase(request);
      act();
    }
  }

  void act() {
    for (const PoolAction& action : pool_.take_actions()) {
      switch (action.kind) {
        case PoolAction::Kind::kStart:
          if (!workers_.emplace(action.worker, Worker{}).second) fail("a worker is started twice");
          break;
        case PoolAction::Kind::kGive:
          give(action);
          break;
        case PoolAction::Kind::kStop:
          with(action.worker, [&](Worker& worker) {
            ++counts_.stopped;
            if (worker.stopped) fail("a stopped worker is stopped");
            if (mutation_ != Mutation::kNothingIsStopped) stop(worker);
          });
          break;
        case PoolAction::Kind::kContinue:
          with(action.worker, [&](Worker& worker) {
            worker.since = now_;
            worker.stopped = false;
          });
          break;
        case PoolAction::Kind::kYield:
          with(action.worker, [&](Worker& worker) {
            stop(worker);
            worker.stopped = false;
            worker.since = now_;
            worker.yields = true;
          });
          break;
        case PoolAction::Kind::kKill:
          if (mutation_ == Mutation::kNothingIsKilled) break;
          with(action.worker, [&](Worker& worker) { displace(worker); });
          workers_.erase(action.worker);
          killed_.push_back(action.worker);
          break;
        case PoolAction::Kind::kTimeOut:
          ++counts_.timed_out;
          if (requests_[action.request].fate != Fate::kNeverEnds) fail("a request is given up that would have ended");
          requests_.erase(action.request);
          break;
      }
    }
  }

  template <typename Do>
  void with(WorkerId id, const Do& what) {
    const auto found = workers_.find(id);
    if (found == workers_.end()) return fail("something is done with a worker that is not there");
    what(found->second);
  }

  void stop(Worker& worker) const {
    const Duration ran = now_ - worker.since;
    worker.ran += ran;
    if (worker.left != Duration::max()) worker.left -= std::min(worker.left, ran / (worker.yields ? 3 : 1));
    worker.stopped = true;
  }

  // The request of a worker that is killed begins again, unless it has ended.
  void displace(const Worker& worker) {
    const auto found = worker.request ? requests_.find(*worker.request) : requests_.end();
    if (found == requests_.end()) return;
    found->second.runs = false;
    if (!worker.yields) return;
    ++found->second.shares;
    ++counts_.displaced;
  }

  void give(const PoolAction& action) {
    with(action.worker, [&](Worker& worker) {
      if (worker.request || worker.stopped) return fail("a worker gets a second request");
      const auto found = requests_.find(action.request);
      if (found == requests_.end()) return fail("a request is given out that has ended");
      Request& request = found->second;
      worker.known_slow = !request.waits();
      if (request.waits()) begin(action.request, request);
      request.runs = true;
      worker.request = action.request;
      worker.since = now_;
      worker.ran = Duration::zero();
      worker.left = request.fate == Fate::kNeverEnds ? Duration::max() : request.needs;
    });
  }

  // Its first worker: no request waits for slow ones, and no client waits for two requests of another one.
  void begin(RequestId id, Request& request) {
    request.begun = now_;
    if (now_ - request.arrived > milliseconds(100) * request.ahead) {
      fail(fmt::format("request {} waited {:.0f} ms behind {}", id.value, to_seconds(now_ - request.arrived) * 1000,
                       request.ahead));
    }
    std::set<ClientId> waiting;
    for (auto& [other, of] : requests_) {
      if (!of.waits()) continue;
      ++of.ahead;
      if (of.client != request.client) waiting.insert(of.client);
    }
    for (const ClientId client : waiting) {
      if (!passed_[client].insert(request.client).second) {
        fail(fmt::format("client {} waits for two requests of client {}", client.value, request.client.value));
      }
    }
    passed_[request.client].clear();
  }

  Duration ran(const Worker& worker) const { return worker.stopped ? worker.ran : worker.ran + (now_ - worker.since); }
  bool is_slow(const Worker& worker) const {
    return worker.request && (worker.known_slow || worker.stopped || ran(worker) >= slow_after());
  }

  // A slow request waits for a worker only while no other one has more than its share.
  void check_shares() {
    std::vector<std::pair<const Worker*, const Request*>> holders;
    std::map<ClientId, int> held;
    for (const auto& [id, worker] : workers_) {
      const auto found = is_slow(worker) ? requests_.find(*worker.request) : requests_.end();
      if (found == requests_.end()) continue;
      holders.emplace_back(&worker, &found->second);
      ++held[found->second.client];
    }
    for (const auto& [id, request] : requests_) {
      if (request.waits() || request.runs) continue;
      const int own = held[request.client];
      for (const auto& [worker, other] : holders) {
        const bool too_long = ran(*worker) >= limits_wanted_.yield_after * (1 << std::min(other->shares, 5));
        const bool more = held[other->client] > own;
        const bool later = other->client == request.client && request.shares <= other->shares;
        if (held[other->client] > own + 1 || (too_long && (more || later))) {
          fail(fmt::format("slow request {} waits, client {} has more than its share", id.value, other->client.value));
        }
      }
    }
  }

  void check() {
    int slow_running = 0;
    int slow = 0;
    int quick = 0;
    for (const auto& [id, worker] : workers_) {
      if (!worker.request) continue;
      if (is_slow(worker)) {
        ++slow;
        if (!worker.stopped) ++slow_running;
      } else {
        ++quick;
      }
      if (ran(worker) > limits_wanted_.time_max + milliseconds(1)) fail("a request runs for too long");
    }
    if (slow > limits_.slow_max) fail(fmt::format("{} slow ones", slow));
    if (slow_running > limits_.slow_running_max) fail(fmt::format("{} slow ones run", slow_running));
    if (quick > 1) fail(fmt::format("{} quick ones run", quick));
    if (static_cast<int>(workers_.size()) > limits_.slow_max + 3) fail(fmt::format("{} workers", workers_.size()));
    if (workers_.empty() && !none_may_be_there_) fail("no worker is there for the next request");
    check_shares();
  }

  Duration slow_after() const { return limits_wanted_.slow_after; }

  std::mt19937_64 random_;
  const Mutation mutation_;
  const PrepareLimits limits_wanted_;  // the default limits
  const PrepareLimits limits_;
  PreparePool pool_;
  TimePoint now_{};
  std::map<RequestId, Request> requests_;  // requests that have not ended
  std::map<WorkerId, Worker> workers_;
  std::multimap<TimePoint, RequestId> cancels_;
  std::vector<WorkerId> killed_;
  std::map<ClientId, RequestId> last_quick_;
  std::map<ClientId, std::set<ClientId>> passed_;  // of each client that waits: those that began a request meanwhile
  bool none_may_be_there_ = false;                 // a worker ended before it had prepared anything
  int spins_ = 0;
  Counts counts_;
  std::string broken_;
};

TEST(PrepareSim, KeepsItsPromises) {
  PrepareWorld::Counts all;
  for (std::uint64_t seed = only_seed.value_or(1); seed <= only_seed.value_or(kSeeds); ++seed) {
    PrepareWorld world(seed);
    const std::string broken = world.run();
    ASSERT_EQ(broken, "") << "replay with: prepare_sim --seed " << seed;
    all.answered += world.counts().answered;
    all.canceled += world.counts().canceled;
    all.died += world.counts().died;
    all.timed_out += world.counts().timed_out;
    all.overtaken += world.counts().overtaken;
    all.stopped += world.counts().stopped;
    all.displaced += world.counts().displaced;
  }
  fmt::print(
      "{} answered, {} canceled, {} ended their worker, {} ran for too long, {} overtaken, {} times stopped, "
      "{} times displaced\n",
      all.answered, all.canceled, all.died, all.timed_out, all.overtaken, all.stopped, all.displaced);
  if (only_seed) return;
  for (const int count : {all.canceled, all.died, all.timed_out, all.overtaken, all.stopped, all.displaced})
    EXPECT_GT(count, kSeeds / 10);
}

// Each mistake made on purpose must break a promise.
class PrepareSimMutation : public testing::TestWithParam<Mutation> {};

TEST_P(PrepareSimMutation, IsNoticed) {
  int noticed = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) noticed += PrepareWorld(seed, GetParam()).run().empty() ? 0 : 1;
  EXPECT_GT(noticed, 25);
}

INSTANTIATE_TEST_SUITE_P(All, PrepareSimMutation,
                         testing::Values(Mutation::kSlowIsNotNoticed, Mutation::kNothingIsStopped,
                                         Mutation::kNothingIsKilled, Mutation::kCancelIsForgotten,
                                         Mutation::kEndIsForgotten, Mutation::kNoTimeIsTooLong,
                                         Mutation::kAllAreOneClient, Mutation::kNoShareEnds));

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string_view(argv[i]) == "--seed") drover::only_seed = std::strtoull(argv[i + 1], nullptr, 10);
  }
  return RUN_ALL_TESTS();
}
