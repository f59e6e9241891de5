// What clients are promised by the dispatcher: order, bounds, deadlines, cancels, fairness, shutdown.
#include "policy/dispatcher.h"

#include "policy/dispatcher_fixture.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

class DispatcherTest : public DispatcherFixture {};

TEST_F(DispatcherTest, OneAfterTheOtherInOrderOfArrival) {
  ask('A');
  EXPECT_EQ(actions(), Log{"start 1 A"});
  ask('A');
  ask('A');
  EXPECT_EQ(actions(), Log{}) << "loads are single-flight";
  loaded(1);
  EXPECT_EQ(actions(), Log{"run r1 1"});
  finish(RequestId{1});
  EXPECT_EQ(actions(), Log{"run r2 1"});
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r3 1"});
  finish(RequestId{3});
  EXPECT_EQ(actions(), Log{});
  EXPECT_EQ(dispatcher().waiting(), 0u);
  EXPECT_TRUE(dispatcher().requests().empty());
}

TEST_F(DispatcherTest, AsManyAtOnceAsTheRunnerHasSlots) {
  const auto runner = load('A', 3);
  for (int i = 0; i < 4; ++i) ask('A');
  EXPECT_EQ(actions(), (Log{"run r2 1", "run r3 1", "run r4 1"}));
  EXPECT_EQ(view('A').running, 3);
  EXPECT_EQ(view('A').waiting, 1u);
  EXPECT_EQ(view('A').runner.value, runner);
  finish(RequestId{3});
  EXPECT_EQ(actions(), Log{"run r5 1"});
}

TEST_F(DispatcherTest, SlotsComeAndGoWhileRequestsRun) {
  const auto runner = load('A', 1);
  for (int i = 0; i < 6; ++i) ask('A');
  EXPECT_EQ(actions(), Log{"run r2 1"});
  tell(event::SlotsChanged{RunnerId{runner}, 3});
  EXPECT_EQ(actions(), (Log{"run r3 1", "run r4 1"})) << "in order of arrival";
  EXPECT_EQ(view('A').slots, 3);
  tell(event::SlotsChanged{RunnerId{runner}, 2});
  EXPECT_EQ(actions(), Log{}) << "nobody who runs is stopped";
  finish(RequestId{3});
  EXPECT_EQ(actions(), Log{}) << "two are running";
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r5 1"});
  tell(event::SlotsChanged{RunnerId{runner}, 0});
  EXPECT_EQ(view('A').slots, 1) << "never none";
  tell(event::SlotsChanged{RunnerId{runner + 1}, 5});
  EXPECT_EQ(view('A').slots, 1);
}

TEST_F(DispatcherTest, RunnersThatComputeAreThoseWithRequests) {
  load('A', 2);
  load('B', 2);
  EXPECT_EQ(dispatcher().busy_runners(), 0);
  ask('A');
  ask('A');
  EXPECT_EQ(dispatcher().busy_runners(), 1);
  const RequestId other = ask('B');
  EXPECT_EQ(dispatcher().busy_runners(), 2);
  ask('C');
  EXPECT_EQ(dispatcher().busy_runners(), 2) << "one that loads does not compute yet";
  finish(other);
  EXPECT_EQ(dispatcher().busy_runners(), 1);
}

TEST_F(DispatcherTest, SlotsOfARunnerThatLoadsAreThoseItLoadsWith) {
  ask('A');
  ask('A');
  actions();
  tell(event::SlotsChanged{RunnerId{1}, 2});
  EXPECT_EQ(actions(), Log{});
  loaded(1, 1);
  EXPECT_EQ(actions(), Log{"run r1 1"});
  EXPECT_EQ(view('A').slots, 1);
}

TEST_F(DispatcherTest, QueueIsBoundedAndThoseThatRunDoNotCount) {
  config_.waiting_max = 2;
  load('A');
  ask('A');
  ask('A');
  ask('A');
  actions();
  const auto refused = admit(arrival('A'));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kQueueFull);
  EXPECT_EQ(refused.error().message, kBusy);
  EXPECT_EQ(actions(), Log{});
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r3 1"});
  ask('A');
}

TEST_F(DispatcherTest, FullQueueOfOneModelLeavesFreeSlotsOfAnotherInUse) {
  config_.waiting_max = 1;
  load('A');
  load('B');
  ask('A');
  ask('A');
  EXPECT_FALSE(admit(arrival('A')).ok());
  EXPECT_EQ(actions(), Log{"run r3 1"});
  const RequestId other = ask('B');
  EXPECT_EQ(actions(), Log{"run r" + std::to_string(other.value) + " 2"});
}

TEST_F(DispatcherTest, WhoWillHaveASlotOnceTheModelIsLoadedIsNotQueued) {
  config_.waiting_max = 0;
  config_.slots = 2;
  ask('A');
  Arrival only_load = arrival('A');
  only_load.load_only = true;
  ask(only_load);
  EXPECT_EQ(dispatcher().waiting(), 2u);
  EXPECT_EQ(dispatcher().queued(), 0u);
  EXPECT_EQ(admit(arrival('A')).error().code, ErrorCode::kQueueFull);
  loaded(1);
  EXPECT_EQ(actions(), (Log{"start 1 A", "complete r2", "run r1 1"}));
  EXPECT_EQ(admit(arrival('A')).error().code, ErrorCode::kQueueFull) << "the runner has one slot and not two";
}

TEST_F(DispatcherTest, WhoWaitsForTheMemoryOfABusyModelIsQueued) {
  config_.waiting_max = 1;
  config_.loaded_models_max = 2;
  load('A');
  ask('A');
  actions();
  ask('B');
  EXPECT_EQ(dispatcher().queued(), 0u) << "it loads beside the other";
  ask('C');
  EXPECT_EQ(dispatcher().queued(), 1u) << "there is room for two models, and one of them is busy";
  EXPECT_EQ(admit(arrival('D')).error().code, ErrorCode::kQueueFull);
  EXPECT_EQ(admit(arrival('B')).error().code, ErrorCode::kQueueFull);
  finish(RequestId{2});
  EXPECT_EQ(dispatcher().queued(), 0u) << "the idle one makes room";
  ask('D');
}

TEST_F(DispatcherTest, WaitEndsAtTheDeadlineAndGenerationDoesNot) {
  config_.request_timeout = 10s;
  config_.hang_timeout = 0s;
  load('A');
  ask('A');
  ask('A');
  actions();
  pass(10s - 1ns);
  EXPECT_EQ(actions(), Log{});
  pass(1ns);
  EXPECT_EQ(actions(), Log{"fail r3 model request timeout"});
  const Fail& fail = failures_.at(RequestId{3});
  EXPECT_EQ(fail.error.code, ErrorCode::kTimedOut);
  ASSERT_TRUE(fail.retry_after.has_value());
  EXPECT_GE(*fail.retry_after, 1s);
  EXPECT_LE(*fail.retry_after, 60s);
  pass(1h);
  EXPECT_EQ(actions(), Log{}) << "what runs is never cut";
  finish(RequestId{2});
}

TEST_F(DispatcherTest, DeadlineHoldsWhileLoadingAndTheLoadIsAbandonedWithItsLastRequest) {
  config_.request_timeout = 10s;
  ask('A');
  pass(4s);
  ask('A');
  actions();
  pass(6s);
  EXPECT_EQ(actions(), Log{"fail r1 model request timeout"}) << "somebody else still waits for the load";
  pass(4s);
  EXPECT_EQ(actions(), (Log{"fail r2 model request timeout", "stop 1 abandoned"}));
}

TEST_F(DispatcherTest, OwnTimeoutShortensAndNeverLengthens) {
  config_.request_timeout = 10s;
  Arrival shorter = arrival('A');
  shorter.timeout = 2s;
  Arrival longer = arrival('A');
  longer.timeout = 1h;
  ask(shorter);
  ask(longer);
  actions();
  pass(2s);
  EXPECT_EQ(actions(), Log{"fail r1 model request timeout"});
  pass(8s);
  EXPECT_EQ(actions(), (Log{"fail r2 model request timeout", "stop 1 abandoned"}));
}

TEST_F(DispatcherTest, NoTimeoutMeansNone) {
  config_.request_timeout = 0s;
  config_.load_timeout = 0s;
  ask('A');
  Arrival own = arrival('A');
  own.timeout = Duration::max();
  ask(own);
  actions();
  pass(1000h);
  EXPECT_EQ(actions(), Log{});
}

TEST_F(DispatcherTest, CancelWhileWaitingIsSilent) {
  load('A');
  ask('A');
  ask('A');
  ask('A');
  actions();
  cancel(RequestId{3});
  cancel(RequestId{3});
  cancel(RequestId{77});
  EXPECT_EQ(actions(), Log{});
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r4 1"});
}

TEST_F(DispatcherTest, CancelWhileRunningHoldsTheSlotUntilItIsFree) {
  load('A');
  ask('A');
  ask('A');
  actions();
  cancel(RequestId{2});
  EXPECT_EQ(actions(), Log{"cancel r2 1"});
  cancel(RequestId{2});
  EXPECT_EQ(actions(), Log{});
  EXPECT_EQ(dispatcher().requests().front().phase, RequestPhase::kCanceling);
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r3 1"});
}

TEST_F(DispatcherTest, LoadGoesOnWhenTheFirstClientLeavesAndStopsWithTheLast) {
  ask('A');
  ask('A');
  actions();
  cancel(RequestId{1});
  EXPECT_EQ(actions(), Log{});
  cancel(RequestId{2});
  EXPECT_EQ(actions(), Log{"stop 1 abandoned"});
  ask('A');
  EXPECT_EQ(actions(), Log{}) << "one runner per model: the next starts when this one is gone";
  loaded(1);
  EXPECT_EQ(actions(), Log{}) << "what a stopped runner still says is not heard";
  gone(1);
  EXPECT_EQ(actions(), Log{"start 2 A"});
}

TEST_F(DispatcherTest, FiveHundredRequestsOfOneClientDelayAnotherByOneService) {
  config_.request_timeout = 0s;
  load('A');
  for (int i = 0; i < 500; ++i) ask('A', "bulk");
  EXPECT_EQ(actions(), Log{"run r2 1"});
  RequestId running{2};
  for (int i = 0; i < 10; ++i, running.value = running.value + 1) {
    pass(40s);  // long enough for everything to age
    tell(event::Progress{RunnerId{1}});
    finish(running);
    EXPECT_EQ(actions(), Log{"run r" + std::to_string(running.value + 1) + " 1"});
  }
  const RequestId single = ask('A', "guest");
  EXPECT_EQ(dispatcher().position(single), 1u);
  finish(running);
  EXPECT_EQ(actions(), Log{"run r" + std::to_string(single.value) + " 1"});
}

TEST_F(DispatcherTest, ClientsTakeTurnsByServiceTimeNotByCount) {
  config_.low_ageing = 0s;
  config_.hang_timeout = 0s;
  config_.request_timeout = 0s;
  load('A');
  for (int i = 0; i < 40; ++i) {
    ask('A', "long");
    ask('A', "short");
  }
  actions();
  std::map<std::string, Duration> served;
  std::map<std::string, int> count;
  for (int i = 0; i < 40; ++i) {
    const RequestView running = dispatcher().requests().front();
    const Duration service = running.client == "long" ? 9s : 1s;
    pass(service);
    finish(running.request);
    served[running.client] += service;
    ++count[running.client];
  }
  EXPECT_LE(std::chrono::abs(served["long"] - served["short"]), 18s);
  EXPECT_GT(count["short"], 4 * count["long"]);
}

TEST_F(DispatcherTest, PrioritiesAreStrict) {
  load('A');
  ask('A');
  for (const Priority priority : {Priority::kLow, Priority::kNormal, Priority::kHigh}) {
    Arrival next = arrival('A', "another");
    next.priority = priority;
    ask(next);
  }
  actions();
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r5 1"});
  finish(RequestId{5});
  EXPECT_EQ(actions(), Log{"run r4 1"});
  finish(RequestId{4});
  EXPECT_EQ(actions(), Log{"run r3 1"});
}

TEST_F(DispatcherTest, LowPriorityIsNeverStarved) {
  config_.request_timeout = 0s;
  load('A');
  ask('A');
  Arrival low = arrival('A', "low");
  low.priority = Priority::kLow;
  ask(low);
  actions();
  RequestId running{2};
  // Others always have something of high priority waiting, each time from a client that was not there before.
  const TimePoint start = now_;
  while (running != low.request) {
    for (int i = 0; i < 3; ++i) {
      Arrival high = arrival('A', "high" + std::to_string(requests_));
      high.priority = Priority::kHigh;
      ask(high);
    }
    pass(1s);
    finish(running);
    for (const RequestView& view : dispatcher().requests())
      if (view.phase == RequestPhase::kRunning) running = view.request;
    ASSERT_LE(now_ - start, 3 * config_.low_ageing + 2s);
  }
  EXPECT_GT(now_ - start, 2 * config_.low_ageing) << "ageing, not chance";
}

TEST_F(DispatcherTest, PositionsAreTheOrderOfService) {
  load('A');
  for (int i = 0; i < 4; ++i) ask('A', "one");
  for (int i = 0; i < 2; ++i) ask('A', "two");
  std::vector<std::uint64_t> order;
  std::size_t position = 0;
  for (const RequestView& view : dispatcher().requests()) {
    EXPECT_EQ(view.position, view.phase == RequestPhase::kWaiting ? ++position : 0);
    EXPECT_EQ(dispatcher().position(view.request), view.position);
    order.push_back(view.request.value);
  }
  EXPECT_EQ(dispatcher().position(RequestId{99}), 0u);
  std::vector<std::uint64_t> served;
  actions();
  for (std::uint64_t running : order) {
    served.push_back(running);
    EXPECT_EQ(dispatcher().requests().front().request.value, running);
    pass(1s);
    finish(RequestId{running});
  }
  EXPECT_EQ(served, (std::vector<std::uint64_t>{2, 6, 3, 7, 4, 5}));
}

TEST_F(DispatcherTest, LoadOnlyWantsNoSlot) {
  load('A');
  ask('A');
  actions();
  Arrival empty = arrival('A');
  empty.load_only = true;
  ask(empty);
  EXPECT_EQ(actions(), Log{"complete r3"}) << "the only slot is taken, and it needs none";
}

TEST_F(DispatcherTest, KeepAliveOfTheLatestRequestCounts) {
  load('A');
  Arrival brief = arrival('A');
  brief.keep_alive = 10s;
  finish(ask(brief));
  actions();
  EXPECT_EQ(view('A').expires, now_ + 10s);
  pass(10s - 1ns);
  EXPECT_EQ(actions(), Log{});
  pass(1ns);
  EXPECT_EQ(actions(), Log{"stop 1 idle"});
  EXPECT_EQ(view('A').state, ModelState::kStopping);
  gone(1);
  EXPECT_TRUE(dispatcher().models().empty());
  EXPECT_EQ(dispatcher().next_due(), kNever);
}

TEST_F(DispatcherTest, KeepAliveZeroUnloadsWhenNothingWaits) {
  load('A');
  Arrival last = arrival('A');
  last.keep_alive = 0s;
  Arrival other = arrival('A');
  other.keep_alive = 0s;
  ask(last);
  ask(other);
  actions();
  finish(last.request);
  EXPECT_EQ(actions(), Log{"run r3 1"});
  finish(other.request);
  EXPECT_EQ(actions(), Log{"stop 1 idle"});
}

TEST_F(DispatcherTest, NegativeOrEndlessKeepAliveNeverUnloads) {
  for (const Duration endless : {Duration(-1), Duration::max()}) {
    Arrival stays = arrival('A');
    stays.keep_alive = endless;
    ask(stays);
    loaded(1);
    finish(stays.request);
    actions();
    pass(10000h);
    EXPECT_EQ(actions(), Log{});
  }
}

TEST_F(DispatcherTest, UnloadWaitsForThoseThatRunAndWait) {
  EXPECT_FALSE(dispatcher().unload(ModelId{0}, now_));
  load('A');
  ask('A');
  ask('A');
  actions();
  EXPECT_TRUE(dispatcher().unload(ModelId{0}, now_));
  EXPECT_EQ(actions(), Log{});
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r3 1"});
  finish(RequestId{3});
  EXPECT_EQ(actions(), Log{"stop 1 asked for"});
  gone(1);
  EXPECT_FALSE(dispatcher().unload(ModelId{0}, now_));
  load('B');  // the runner's number is 2 already
  EXPECT_TRUE(dispatcher().unload(ModelId{1}, now_));
  EXPECT_EQ(actions(), Log{"stop 2 asked for"});
}

TEST_F(DispatcherTest, ShutdownFailsWhatWaitsAndLetsTheRestFinish) {
  load('A');
  load('B');
  ask('A');
  ask('A');
  ask('C');
  EXPECT_EQ(actions(), (Log{"run r3 1", "start 3 C"}));
  tell(event::Shutdown{});
  EXPECT_EQ(actions(), (Log{"fail r4 server is shutting down", "fail r5 server is shutting down", "stop 3 shutdown",
                            "stop 2 shutdown"}));
  EXPECT_EQ(admit(arrival('A')).error().code, ErrorCode::kUnavailable);
  finish(RequestId{3});
  EXPECT_EQ(actions(), Log{"stop 1 shutdown"});
  for (const std::uint64_t runner : {1, 2, 3}) gone(runner);
  EXPECT_TRUE(dispatcher().models().empty());
  EXPECT_EQ(dispatcher().next_due(), kNever);
}

TEST_F(DispatcherTest, RetryAfterFollowsTheMeasuredServiceTime) {
  load('A', 2);
  EXPECT_EQ(dispatcher().retry_after(ModelId{0}, now_), 1s);
  ask('A');
  pass(8s);
  finish(RequestId{2});
  for (int i = 0; i < 5; ++i) ask('A');
  EXPECT_EQ(dispatcher().retry_after(ModelId{0}, now_), 16s) << "three wait and this one: 4 x 8 s on 2 slots";
  for (int i = 0; i < 100; ++i) ask('A');
  EXPECT_EQ(dispatcher().retry_after(ModelId{0}, now_), 60s);
}

}  // namespace
}  // namespace drover
