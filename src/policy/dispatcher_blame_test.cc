// Whose fault it is that a runner died: that request fails, and no other does.
#include "policy/dispatcher.h"
#include "policy/dispatcher_fixture.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

constexpr Blame kByItself = {};  // it crashed, and nobody knows at what
constexpr Blame kKilled = {.request = {}, .from_outside = true};
constexpr Blame at_work_for(std::uint64_t request) {
  return {.request = RequestId{request}, .from_outside = false};
}

class DispatcherBlameTest : public DispatcherFixture {
 protected:
  // Requests 2 to 1 + `count` run on runner 1.
  void run(int count) {
    load('A', count);
    for (int i = 0; i < count; ++i) ask('A');
    actions();
  }
  static std::string fails(int request) { return "fail r" + std::to_string(request) + " " + kCrash; }
};

TEST_F(DispatcherBlameTest, TheBlamedOneFailsAtOnceAndTheOthersGoOnTogether) {
  run(3);
  gone(1, at_work_for(3));
  EXPECT_EQ(actions(), (Log{fails(3), "start 2 A"}));
  EXPECT_EQ(failures_.at(RequestId{3}).error.code, ErrorCode::kInternal);
  loaded(2, 3);
  EXPECT_EQ(actions(), (Log{"run r2 2", "run r4 2"}));
}

TEST_F(DispatcherBlameTest, OthersFaultsCostARequestNothingHoweverManyThereAre) {
  load('A', 2);
  const RequestId innocent = ask('A');
  actions();
  for (std::uint64_t runner = 1; runner <= 9; ++runner) {
    const RequestId poison = ask('A');
    EXPECT_EQ(actions(), Log{"run r" + std::to_string(poison.value) + " " + std::to_string(runner)});
    gone(runner, at_work_for(poison.value));
    EXPECT_EQ(actions()[0], fails(static_cast<int>(poison.value)));
    pass(1min);
    actions();
    loaded(runner + 1, 2);
    EXPECT_EQ(actions(), Log{"run r" + std::to_string(innocent.value) + " " + std::to_string(runner + 1)});
  }
}

TEST_F(DispatcherBlameTest, WithoutBlameEachIsReplayedAloneSoThatASecondDeathHasOneCulprit) {
  run(3);
  ask('A');  // 5 waits
  gone(1, kByItself);
  loaded(2, 3);
  EXPECT_EQ(actions(), (Log{"start 2 A", "run r2 2"}));
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r3 2"});
  gone(2, kByItself);
  EXPECT_EQ(actions(), (Log{fails(3), "start 3 A"}));
  loaded(3, 3);
  EXPECT_EQ(actions(), Log{"run r4 3"});
  EXPECT_EQ(admit(arrival('A')).ok(), true);
  EXPECT_EQ(actions(), Log{}) << "nobody runs beside it";
  finish(RequestId{4});
  EXPECT_EQ(actions(), (Log{"run r5 3", "run r6 3"})) << "who was not there runs as ever";
}

TEST_F(DispatcherBlameTest, ASuspectWaitsUntilNobodyRunsBesideIt) {
  run(2);
  gone(1, kByItself);
  loaded(2, 2);
  cancel(RequestId{2});
  EXPECT_EQ(actions(), (Log{"start 2 A", "run r2 2", "cancel r2 2"}));
  ask('A');
  EXPECT_EQ(actions(), Log{}) << "also while it is leaving";
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r3 2"});
}

TEST_F(DispatcherBlameTest, ASuspectThatHasSentSomethingRunsBesideOthers) {
  run(2);
  const RequestId third = ask('A');
  gone(1, kByItself);
  loaded(2, 2);
  finish(RequestId{2});
  EXPECT_EQ(actions(), (Log{"start 2 A", "run r2 2", "run r3 2"}));
  send_output(RequestId{3});
  EXPECT_EQ(actions(), Log{"run r" + std::to_string(third.value) + " 2"});
  gone(2, kByItself);
  EXPECT_EQ(actions(), (Log{fails(3), "start 3 A"}));
}

TEST_F(DispatcherBlameTest, WhoWasAloneIsTheCulprit) {
  run(1);
  gone(1, kByItself);
  EXPECT_EQ(actions(), Log{fails(2)});
  pass(1s);
  ask('A');
  EXPECT_EQ(actions(), Log{"start 2 A"});
}

TEST_F(DispatcherBlameTest, KilledFromOutsideCostsNobodyAnything) {
  run(2);
  gone(1, kKilled);
  loaded(2, 2);
  EXPECT_EQ(actions(), (Log{"start 2 A", "run r2 2", "run r3 2"}));
}

TEST_F(DispatcherBlameTest, WhoIsThereWhenRunnersAreKilledTimeAndAgainIsLookedAtAlone) {
  run(2);
  gone(1, kKilled);
  loaded(2, 2);
  actions();
  gone(2, kKilled);
  pass(1s);
  loaded(3, 2);
  EXPECT_EQ(actions(), (Log{"start 3 A", "run r2 3"}));
  gone(3, kKilled);
  pass(2s);
  loaded(4, 2);
  EXPECT_EQ(actions(), (Log{"start 4 A", "run r2 4"})) << "once more";
  gone(4, kKilled);
  EXPECT_EQ(actions(), Log{fails(2)}) << "it takes what makes the system kill it";
  pass(4s);
  loaded(5, 2);
  EXPECT_EQ(actions(), (Log{"start 5 A", "run r3 5"}));
}

TEST_F(DispatcherBlameTest, AHangIsTheFaultOfWhatItWorkedOn) {
  config_.hang_timeout = 10s;
  run(2);
  tell(event::Blamed{RunnerId{1}, at_work_for(2)});
  tell(event::Blamed{RunnerId{1}, at_work_for(3)});
  pass(10s);
  EXPECT_EQ(actions(), (Log{"stop 1 hung", fails(3)}));
  gone(1, kKilled);
  loaded(2, 2);
  EXPECT_EQ(actions(), (Log{"start 2 A", "run r2 2"}));
  tell(event::Blamed{RunnerId{2}, kKilled});
  pass(10s);
  EXPECT_EQ(actions(), Log{"stop 2 hung"}) << "somebody has stopped it: nobody's fault";
}

TEST_F(DispatcherBlameTest, WorkForARequestThatHasEndedIsNobodysFaultTwice) {
  run(1);
  gone(1, at_work_for(99));
  loaded(2);
  EXPECT_EQ(actions(), (Log{"start 2 A", "run r2 2"}));
  gone(2, at_work_for(99));
  EXPECT_EQ(actions(), Log{fails(2)});
}

TEST_F(DispatcherBlameTest, ArrivalsCountAsQueuedWhileASuspectRunsAlone) {
  config_.waiting_max = 0;
  config_.slots = 2;
  run(2);
  gone(1, kByItself);
  loaded(2, 2);
  finish(RequestId{2});
  EXPECT_EQ(actions(), (Log{"start 2 A", "run r2 2", "run r3 2"}));
  EXPECT_TRUE(admit(arrival('A')).ok()) << "it finds a slot as soon as the suspect is done";
  EXPECT_EQ(actions(), Log{});
  EXPECT_FALSE(admit(arrival('A')).ok());
}

}  // namespace
}  // namespace drover
