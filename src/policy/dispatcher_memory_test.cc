// Which models are in memory: loads side by side, eviction, turns, growth, pins, accounting.
#include "policy/dispatcher.h"
#include "policy/dispatcher_fixture.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

class DispatcherMemoryTest : public DispatcherFixture {
 protected:
  Arrival sized(char model, std::uint64_t gib, int context_length = 0) {
    Arrival sized = arrival(model);
    sized.needs.memory_bytes = gib * kGiB;
    sized.needs.context_length = context_length;
    return sized;
  }
};

TEST_F(DispatcherMemoryTest, ColdModelsLoadAtTheSameTime) {
  ask('A');
  ask('B');
  EXPECT_EQ(actions(), (Log{"start 1 A", "start 2 B"}));
  loaded(2);
  EXPECT_EQ(actions(), Log{"run r2 2"}) << "B does not wait for A's load";
}

TEST_F(DispatcherMemoryTest, LeastRecentlyUsedIdleModelLeaves) {
  config_.loaded_models_max = 3;
  for (const char model : {'A', 'B', 'C'}) {
    load(model);
    pass(1s);
  }
  finish(ask('A'));
  actions();
  ask('D');
  EXPECT_EQ(actions(), Log{"stop 2 evicted"});
  gone(2);
  EXPECT_EQ(actions(), Log{"start 4 D"}) << "what stops counts until it is gone";
}

TEST_F(DispatcherMemoryTest, SumOfMemoryStaysInItsBound) {
  config_.memory_bytes_max = 10 * kGiB;
  ask(sized('A', 4));
  ask(sized('B', 5));
  ask(sized('C', 2));
  EXPECT_EQ(actions(), (Log{"start 1 A", "start 2 B"}));
  loaded(1, 1, 4096, 3 * kGiB);
  EXPECT_EQ(actions(), (Log{"run r1 1", "start 3 C"})) << "the measured figure replaces the estimate";
}

TEST_F(DispatcherMemoryTest, OneLargeVictimSparesSmallOnes) {
  config_.memory_bytes_max = 10 * kGiB;
  for (const auto& [model, size] : {std::pair{'A', 1}, {'B', 7}, {'C', 2}}) {
    Arrival load = sized(model, size);
    load.load_only = true;
    ask(load);
    loaded(++runners_, 1, 4096, size * kGiB);
    pass(1s);
  }
  actions();
  ask(sized('D', 6));
  EXPECT_EQ(actions(), Log{"stop 2 evicted"});
}

TEST_F(DispatcherMemoryTest, TooLargeForTheBoundIsRefusedAtOnce) {
  config_.memory_bytes_max = 10 * kGiB;
  load('A');
  const auto refused = admit(sized('B', 11));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kNoSpace);
  EXPECT_NE(refused.error().message.find("11.0 GiB"), std::string::npos) << refused.error().message;
  Arrival absurd = arrival('B');
  absurd.needs.memory_bytes = ~std::uint64_t{0};
  EXPECT_EQ(admit(absurd).error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(actions(), Log{}) << "nobody had to leave for it";
}

TEST_F(DispatcherMemoryTest, BusyOrAwaitedModelsAreNoVictims) {
  config_.loaded_models_max = 2;
  load('A');
  ask('A');
  ask('B');
  EXPECT_EQ(actions(), (Log{"run r2 1", "start 2 B"}));
  ask('C');
  pass(config_.residence_min - 1ns);
  EXPECT_EQ(actions(), Log{}) << "A runs, B loads";
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"stop 1 evicted"});
}

TEST_F(DispatcherMemoryTest, BusyModelIsDrainedWhenItsTurnIsOver) {
  config_.loaded_models_max = 1;
  config_.hang_timeout = 0s;
  load('A', 2);
  for (int i = 0; i < 4; ++i) ask('A');
  EXPECT_EQ(actions(), (Log{"run r2 1", "run r3 1"}));
  pass(1min);
  actions();
  ask('B');
  pass(4s);
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r4 1"}) << "its turn is not over before B has waited for residence_min";
  pass(1s);
  EXPECT_EQ(view('A').state, ModelState::kDraining);
  finish(RequestId{3});
  EXPECT_EQ(actions(), Log{}) << "r5 waits, the slot is free, and the model is drained";
  finish(RequestId{4});
  EXPECT_EQ(actions(), Log{"stop 1 evicted"});
  gone(1);
  EXPECT_EQ(actions(), Log{"start 2 B"});
  loaded(2);
  finish(RequestId{6});
  EXPECT_EQ(actions(), (Log{"run r6 2", "stop 2 evicted"})) << "B is idle and A is wanted";
  gone(2);
  EXPECT_EQ(actions(), Log{"start 3 A"});
}

TEST_F(DispatcherMemoryTest, DrainIsTakenBackWhenNobodyNeedsTheRoom) {
  config_.loaded_models_max = 1;
  load('A');
  ask('A');
  ask('A');
  const RequestId other = ask('B');
  pass(6s);
  EXPECT_EQ(view('A').state, ModelState::kDraining);
  cancel(other);
  EXPECT_EQ(view('A').state, ModelState::kLoaded);
  actions();
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r3 1"});
}

// Runs everything with one second for a load, a generation and an end each; how many loads it took.
class AutomaticRunnersTest : public DispatcherMemoryTest {
 protected:
  int run() {
    int loads = 0;
    std::multimap<TimePoint, std::function<void()>> events;
    const auto after = [&](auto what) { events.emplace(now_ + 1s, what); };
    for (;;) {
      for (const Action& action : dispatcher().take_actions()) {
        if (const auto* start = std::get_if<StartRunner>(&action)) {
          ++loads;
          after([this, runner = start->runner.value] { loaded(runner); });
        } else if (const auto* stop = std::get_if<StopRunner>(&action)) {
          after([this, runner = stop->runner.value] { gone(runner); });
        } else if (const auto* dispatch = std::get_if<Dispatch>(&action)) {
          waited_[dispatch->request] = now_ - start_;
          after([this, request = dispatch->request] { finish(request); });
        }
      }
      if (events.empty() && dispatcher().waiting() == 0) return loads;
      const TimePoint event = events.empty() ? kNever : events.begin()->first;
      now_ = std::min(event, dispatcher().next_due());
      if (event <= now_) {
        auto node = events.extract(events.begin());
        node.mapped()();
      } else {
        tell(event::Tick{});
      }
    }
  }
  TimePoint start_ = now_;
  std::map<RequestId, Duration> waited_;
};

TEST_F(AutomaticRunnersTest, ABAACABCWithRoomForOneCostsThreeLoads) {
  config_.loaded_models_max = 1;
  for (const char model : std::string("ABAACABC")) ask(model);
  EXPECT_EQ(run(), 3);
  for (const auto& [request, waited] : waited_)
    EXPECT_LE(waited, 2 * (config_.residence_min + 3s) + 3s) << "r" << request.value;
}

TEST_F(AutomaticRunnersTest, TurnsBoundTheWaitUnderSteadyLoad) {
  config_.loaded_models_max = 1;
  config_.request_timeout = 0s;
  for (int i = 0; i < 100; ++i) ask('A');
  const RequestId other = ask('B');
  run();
  EXPECT_LE(waited_.at(other), 1s + config_.residence_min + 1s + 1s + 1s + 1ms);
}

TEST_F(DispatcherMemoryTest, SmallModelPassesOnlyWithRoomThatNobodyWaitsFor) {
  config_.memory_bytes_max = 10 * kGiB;
  ask(sized('A', 6));
  loaded(1, 1, 4096, 6 * kGiB);
  ask(sized('B', 8));
  EXPECT_EQ(actions(), (Log{"start 1 A", "run r1 1"}));
  ask(sized('C', 3));
  EXPECT_EQ(actions(), Log{}) << "4 GiB are free, but B will need 2 of them";
  ask(sized('D', 2));
  EXPECT_EQ(actions(), Log{"start 2 D"}) << "this fits beside B";
  finish(RequestId{1});
  EXPECT_EQ(actions(), Log{"stop 1 evicted"});
  gone(1);
  EXPECT_EQ(actions(), Log{"start 3 B"});
}

TEST_F(DispatcherMemoryTest, NoContextOrASmallerOneUsesWhatIsLoaded) {
  ask(sized('A', 1, 8192));
  EXPECT_EQ(actions(), Log{"start 1 A 8192"});
  loaded(1, 4, 8192);
  ask(sized('A', 1, 0));
  ask(sized('A', 1, 2048));
  ask(sized('A', 1, 8192));
  EXPECT_EQ(actions(), (Log{"run r1 1", "run r2 1", "run r3 1", "run r4 1"}));
}

TEST_F(DispatcherMemoryTest, LargerContextGrowsTheRunnerOnce) {
  load('A', 2);
  ask('A');
  ask(sized('A', 2, 16384));
  ask(sized('A', 2, 32768));
  ask('A');
  EXPECT_EQ(actions(), Log{"run r2 1"});
  EXPECT_EQ(view('A').state, ModelState::kDraining);
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"stop 1 grown"});
  gone(1);
  EXPECT_EQ(actions(), Log{"start 2 A 32768"}) << "for all that wait, at once";
  loaded(2, 2, 32768);
  EXPECT_EQ(actions(), (Log{"run r3 2", "run r4 2"}));
}

TEST_F(DispatcherMemoryTest, RunnerThatGivesLessThanAskedForIsNotGrownAgain) {
  ask(sized('A', 1, 65536));
  loaded(1, 1, 8192);
  finish(RequestId{1});
  ask(sized('A', 1, 131072));
  EXPECT_EQ(actions(), (Log{"start 1 A 65536", "run r1 1", "run r2 1"}));
}

TEST_F(DispatcherMemoryTest, GrowthIsTakenBackWhenItsRequestLeaves) {
  load('A');
  ask('A');
  const RequestId large = ask(sized('A', 2, 16384));
  ask('A');
  actions();
  cancel(large);
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r4 1"});
}

TEST_F(DispatcherMemoryTest, PinnedModelIsNeitherEvictedNorUnloaded) {
  config_.loaded_models_max = 1;
  Arrival pinned = arrival('A');
  pinned.needs.pinned = true;
  pinned.load_only = true;
  pinned.keep_alive = 0s;
  ask(pinned);
  loaded(1);
  EXPECT_EQ(actions(), (Log{"start 1 A", "complete r1"}));
  pass(1h);
  EXPECT_EQ(actions(), Log{});
  const auto refused = admit(arrival('B'));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  gone(1);
  EXPECT_EQ(actions(), Log{"start 2 A"}) << "it comes back by itself";
  loaded(2);
  EXPECT_TRUE(dispatcher().unload(ModelId{0}, now_));
  EXPECT_EQ(actions(), Log{"stop 2 asked for"});
  gone(2);
  EXPECT_EQ(actions(), Log{});
}

TEST_F(DispatcherMemoryTest, UnloadReachesAPinnedModelThatBacksOff) {
  Arrival pinned = arrival('A');
  pinned.needs.pinned = true;
  ask(pinned);
  loaded(1);
  finish(pinned.request);
  gone(1);
  gone(2);
  gone(3);
  EXPECT_EQ(actions(), (Log{"start 1 A", "run r1 1", "start 2 A", "start 3 A"}));
  EXPECT_EQ(view('A').state, ModelState::kBackoff);
  EXPECT_FALSE(dispatcher().unload(ModelId{0}, now_)) << "it is not in memory";
  pass(1h);
  EXPECT_EQ(actions(), Log{});
}

TEST_F(DispatcherMemoryTest, PinnedModelThatCannotLoadIsTriedAgainAfterItsBackOff) {
  config_.load_backoff_first = 1s;
  Arrival pinned = arrival('A');
  pinned.needs.pinned = true;
  ask(pinned);
  loaded(1);
  finish(pinned.request);
  gone(1);
  actions();
  load_failed(2);
  pass(1s - 1ns);
  EXPECT_EQ(actions(), Log{});
  pass(1ns);
  EXPECT_EQ(actions(), Log{"start 3 A"});
}

TEST_F(DispatcherMemoryTest, WhoeverDoesNotFitBesideANewlyPinnedModelIsTold) {
  config_.loaded_models_max = 1;
  load('A');
  ask('A');
  ask('B');
  actions();
  Arrival pinned = arrival('A');
  pinned.needs.pinned = true;
  ask(pinned);
  EXPECT_EQ(actions(), Log{"fail r3 model does not fit into memory beside the pinned models"});
}

TEST_F(DispatcherMemoryTest, LoadThatRunsOutOfMemoryIsTriedOnceMoreWithoutAnIdleModel) {
  load('A');
  ask('B');
  actions();
  load_failed(2, true);
  EXPECT_EQ(actions(), Log{"stop 1 evicted"});
  gone(1);
  EXPECT_EQ(actions(), Log{"start 3 B"});
  load_failed(3, true);
  EXPECT_EQ(actions(), Log{"fail r2 no good"});
}

TEST_F(DispatcherMemoryTest, ForALoadThatRunsOutOfMemoryTheModelGoesThatWasUsedLongestAgo) {
  load('A');
  pass(1s);
  load('B');
  pass(1s);
  finish(ask('A'));
  ask('C');
  actions();
  load_failed(3, true);
  EXPECT_EQ(actions(), Log{"stop 2 evicted"});
}

TEST_F(DispatcherMemoryTest, LoadThatRunsOutOfMemoryFailsWhenNobodyIsIdle) {
  load('A');
  ask('A');
  ask('B');
  actions();
  load_failed(2, true);
  EXPECT_EQ(actions(), Log{"fail r3 no good"});
}

TEST_F(DispatcherMemoryTest, AContextThatDoesNotFitFailsAloneAndTheOthersGoOn) {
  load('A');
  ask('A');
  const RequestId large = ask(sized('A', 9, 1 << 20));
  ask('A');
  actions();
  finish(RequestId{2});
  gone(1);
  EXPECT_EQ(actions(), (Log{"stop 1 grown", "start 2 A 1048576"}));
  load_failed(2, true);
  EXPECT_EQ(actions(), (Log{"fail r" + std::to_string(large.value) + " no good", "start 3 A"}));
  loaded(3);
  EXPECT_EQ(actions(), Log{"run r4 3"});
  EXPECT_FALSE(admit(sized('A', 9, 1 << 20)).ok()) << "for a while; the model that works is not stopped for it again";
  ask('A');
}

TEST_F(DispatcherMemoryTest, AModelThatIsWaitedForIsKnownHoweverManyOthersAreAskedFor) {
  config_.loaded_models_max = 1;
  load('A');
  ask('A');
  const RequestId waits = ask('B');
  Arrival other = arrival('C');
  for (std::uint32_t model = 2; model < 1200; ++model) {
    other.request = RequestId{++requests_};
    other.model = ModelId{model};
    cancel(ask(other));
  }
  EXPECT_LT(dispatcher().models().size(), 1100u);
  EXPECT_EQ(actions(), Log{"run r2 1"});
  finish(RequestId{2});
  gone(1);
  EXPECT_EQ(actions(), (Log{"stop 1 evicted", "start 2 B"}));
  loaded(2);
  EXPECT_EQ(actions(), Log{"run r" + std::to_string(waits.value) + " 2"});
}

TEST_F(DispatcherMemoryTest, SmallerContextIsNotHeldBackByOneThatDidNotFit) {
  ask(sized('A', 9, 1 << 20));
  load_failed(1, true);
  EXPECT_EQ(actions(), (Log{"start 1 A 1048576", "fail r1 no good"}));
  EXPECT_FALSE(admit(sized('A', 9, 1 << 20)).ok());
  ask('A');
  EXPECT_EQ(actions(), Log{"start 2 A"});
}

TEST_F(DispatcherMemoryTest, WhenMoreIsUsedThanPlannedIdleModelsLeave) {
  config_.memory_bytes_max = 4 * kGiB;
  load('A');
  pass(1s);
  load('B');
  ask('C');
  actions();
  loaded(3, 1, 4096, 3 * kGiB);
  EXPECT_EQ(actions(), (Log{"run r3 3", "stop 1 evicted"}));
  finish(RequestId{3});
  gone(1);
  EXPECT_EQ(actions(), Log{});
  tell(event::MemoryBound{3 * kGiB});
  EXPECT_EQ(actions(), Log{"stop 2 evicted"});
  gone(2);
  tell(event::MemoryBound{2 * kGiB});
  EXPECT_EQ(actions(), Log{}) << "the last one evidently fits";
}

TEST_F(DispatcherMemoryTest, MeasuredErrorOfTheEstimateIsRemembered) {
  config_.memory_bytes_max = 4 * kGiB;
  ask('A');
  loaded(1, 1, 4096, 3 * kGiB);
  finish(RequestId{1});
  dispatcher().unload(ModelId{0}, now_);
  gone(1);
  ask(sized('B', 2));
  ask('A');
  EXPECT_EQ(actions(), (Log{"start 1 A", "run r1 1", "stop 1 asked for", "start 2 B"}))
      << "by its estimate A would fit beside B, but it is known not to";
}

}  // namespace
}  // namespace drover
