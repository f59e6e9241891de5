// Loads that fail or stall, runners that crash or hang: what is replayed, what fails, what backs off.
#include "policy/dispatcher.h"
#include "policy/dispatcher_fixture.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

class DispatcherFaultsTest : public DispatcherFixture {};

TEST_F(DispatcherFaultsTest, FailedLoadFailsItsRequestsAndBacksOffWithTheCachedError) {
  config_.load_backoff_first = 1s;
  ask('A');
  ask('A');
  actions();
  load_failed(1);
  EXPECT_EQ(actions(), (Log{"fail r1 no good", "fail r2 no good"}));
  EXPECT_EQ(failures_.at(RequestId{1}).retry_after, Duration(1s));
  EXPECT_EQ(admit(arrival('A')).error().message, "no good");
  EXPECT_EQ(view('A').state, ModelState::kBackoff);
  EXPECT_EQ(view('A').last_error, "no good");
  EXPECT_EQ(view('A').retry_at, now_ + 1s);
  ask('B');
  EXPECT_EQ(actions(), Log{"start 2 B"}) << "others do not notice";
  pass(1s);
  ask('A');
  EXPECT_EQ(actions(), Log{"start 3 A"});
  load_failed(3);
  EXPECT_EQ(view('A').retry_at, now_ + 2s) << "doubled";
}

TEST_F(DispatcherFaultsTest, BackOffGrowsToItsBoundAndEndsWithASuccess) {
  config_.load_backoff_first = 1s;
  std::uint64_t runner = 0;
  std::vector<Duration> pauses;
  for (int i = 0; i < 9; ++i) {
    ask('A');
    load_failed(++runner);
    pauses.push_back(dispatcher().retry_after(ModelId{0}, now_));
    pass(pauses.back());
  }
  EXPECT_EQ(pauses, (std::vector<Duration>{1s, 2s, 4s, 8s, 16s, 32s, 1min, 1min, 1min}));
  ask('A');
  loaded(++runner);
  finish(RequestId{requests_});
  dispatcher().unload(ModelId{0}, now_);
  gone(runner);
  ask('A');
  load_failed(++runner);
  EXPECT_EQ(view('A').retry_at, now_ + 1s);
}

TEST_F(DispatcherFaultsTest, AModelThatWasDeletedIsNotHeldAgainstTheNextRequest) {
  ask('A');
  ask('A');
  actions();
  tell(event::LoadFailed{RunnerId{1}, not_found("no model"), false});
  EXPECT_EQ(actions(), (Log{"fail r1 no model", "fail r2 no model"}));
  EXPECT_EQ(failures_.at(RequestId{1}).error.code, ErrorCode::kNotFound);
  ask('A');
  gone(1);
  EXPECT_EQ(actions(), Log{"start 2 A"});
  loaded(2);
  EXPECT_EQ(actions(), Log{"run r3 2"});
}

TEST_F(DispatcherFaultsTest, HundredRequestsForABrokenModelAreFewLoads) {
  int loads = 0;
  for (int i = 0; i < 600; ++i) {
    admit(arrival('A')).ok();
    for (const Action& action : dispatcher().take_actions())
      if (const auto* start = std::get_if<StartRunner>(&action)) {
        ++loads;
        load_failed(start->runner.value);
      }
    pass(100ms);
  }
  EXPECT_LE(loads, 6) << "in a minute";
}

TEST_F(DispatcherFaultsTest, LoadTimesOutForWantOfProgressNotForItsLength) {
  config_.load_timeout = 10s;
  config_.request_timeout = 0s;
  ask('A');
  actions();
  for (int i = 1; i <= 9; ++i) {
    pass(9s);
    tell(event::LoadProgress{RunnerId{1}, i * 0.1f});
  }
  EXPECT_EQ(actions(), Log{});
  EXPECT_FLOAT_EQ(view('A').load_fraction, 0.9f);
  pass(5s);
  tell(event::LoadProgress{RunnerId{1}, 9 * 0.1f});  // says something, but gets nowhere
  tell(event::Progress{RunnerId{1}});
  pass(5s);
  const Log log = actions();
  ASSERT_EQ(log.size(), 2u);
  EXPECT_EQ(log[0], "stop 1 load stalled");
  EXPECT_NE(log[1].find("timed out waiting for llama runner to start"), std::string::npos);
  gone(1);
  EXPECT_EQ(actions(), Log{});
  EXPECT_EQ(view('A').state, ModelState::kBackoff);
}

TEST_F(DispatcherFaultsTest, RunnerThatDiesWhileItLoadsIsTriedOnceMore) {
  ask('A');
  actions();
  gone(1);
  EXPECT_EQ(actions(), Log{"start 2 A"});
  gone(2);
  EXPECT_EQ(actions(), Log{"fail r1 llama runner process has terminated: signal 9"});
  EXPECT_EQ(view('A').state, ModelState::kBackoff);
}

TEST_F(DispatcherFaultsTest, CrashReplaysWhatHasSentNothingAheadOfOthers) {
  load('A', 3);
  for (int i = 0; i < 3; ++i) ask('A', "first");
  const RequestId other = ask('A', "second");
  const RequestId gone_client{4};
  actions();
  send_output(RequestId{3});
  cancel(gone_client);
  EXPECT_EQ(actions(), Log{"cancel r4 1"});
  gone(1);
  EXPECT_EQ(actions(), (Log{std::string("fail r3 ") + kCrash, "start 2 A"}));
  EXPECT_EQ(failures_.at(RequestId{3}).error.code, ErrorCode::kInternal);
  EXPECT_EQ(dispatcher().position(RequestId{2}), 1u);
  loaded(2, 1);
  EXPECT_EQ(actions(), Log{"run r2 2"});
  finish(RequestId{2});
  EXPECT_EQ(actions(), Log{"run r" + std::to_string(other.value) + " 2"});
}

TEST_F(DispatcherFaultsTest, ReplaysKeepTheirOrder) {
  load('A', 3);
  for (int i = 0; i < 4; ++i) ask('A');
  actions();
  gone(1);
  loaded(2, 4);
  EXPECT_EQ(actions(), (Log{"start 2 A", "run r2 2", "run r3 2", "run r4 2", "run r5 2"}));
}

TEST_F(DispatcherFaultsTest, RequestThatAloneLosesTwoRunnersIsNotReplayedAgain) {
  load('A');
  ask('A');
  ask('A');
  actions();
  gone(1);
  loaded(2);
  EXPECT_EQ(actions(), (Log{"start 2 A", "run r2 2"}));
  gone(2);
  EXPECT_EQ(actions(), Log{std::string("fail r2 ") + kCrash});
  EXPECT_EQ(view('A').state, ModelState::kBackoff) << "a second crash without a success between";
  EXPECT_EQ(view('A').retry_at, now_ + 1s);
  ask('A');
  EXPECT_EQ(actions(), Log{}) << "after a crash others wait, they are not refused";
  pass(1s);
  EXPECT_EQ(actions(), Log{"start 3 A"});
  loaded(3);
  EXPECT_EQ(actions(), Log{"run r3 3"});
}

TEST_F(DispatcherFaultsTest, ModelThatCannotLoadIsTriedThreeTimesInItsFirstMinute) {
  int loads = 0;
  int refusals = 0;
  for (int half_second = 0; half_second < 120; ++half_second) {
    if (admit(arrival('A')).ok()) {
      actions();
      load_failed(static_cast<std::uint64_t>(++loads));
    } else {
      ++refusals;
    }
    pass(500ms);
  }
  EXPECT_EQ(loads, 3);
  EXPECT_EQ(refusals, 117) << "with the error of the load";
}

TEST_F(DispatcherFaultsTest, ReplayMayWaitAnewAndIsNotHeldToTheQueueBound) {
  config_.waiting_max = 1;
  config_.request_timeout = 10s;
  Arrival first = arrival('A');
  ask(first);
  loaded(1);
  ask('A');
  pass(9s);
  actions();
  gone(1);
  EXPECT_EQ(dispatcher().waiting(), 2u);
  EXPECT_FALSE(admit(arrival('A')).ok());
  pass(1s);
  EXPECT_EQ(actions(), (Log{"start 2 A", "fail r2 model request timeout"}));
  pass(9s);
  EXPECT_EQ(actions(), (Log{"fail r1 model request timeout", "stop 2 abandoned"}));
}

TEST_F(DispatcherFaultsTest, HungRunnerIsKilledAndTreatedLikeACrash) {
  config_.hang_timeout = 10s;
  load('A', 2);
  pass(1min);
  ask('A');
  ask('A');
  actions();
  pass(9s);
  tell(event::Progress{RunnerId{1}});
  send_output(RequestId{2});
  pass(10s - 1ns);
  EXPECT_EQ(actions(), Log{});
  pass(1ns);
  EXPECT_EQ(actions(), (Log{"stop 1 hung", std::string("fail r2 ") + kCrash}));
  finish(RequestId{3});
  EXPECT_EQ(dispatcher().waiting(), 1u) << "a late word about a request that waits again changes nothing";
  gone(1);
  loaded(2);
  EXPECT_EQ(actions(), (Log{"start 2 A", "run r3 2"}));
}

TEST_F(DispatcherFaultsTest, CanceledRequestThatIsNeverFinishedFallsUnderTheHangRule) {
  config_.hang_timeout = 10s;
  load('A');
  ask('A');
  ask('A');
  cancel(RequestId{2});
  actions();
  pass(10s);
  gone(1);
  loaded(2);
  EXPECT_EQ(actions(), (Log{"stop 1 hung", "start 2 A", "run r3 2"}));
}

TEST_F(DispatcherFaultsTest, IdleRunnerDoesNotHang) {
  config_.hang_timeout = 10s;
  load('A');
  pass(1min);
  EXPECT_EQ(actions(), Log{});
  gone(1);
  EXPECT_EQ(actions(), Log{}) << "its death is nobody's loss";
}

TEST_F(DispatcherFaultsTest, CrashWhileShuttingDownEndsItsRequests) {
  load('A');
  ask('A');
  actions();
  tell(event::Shutdown{});
  gone(1);
  EXPECT_EQ(actions(), Log{std::string("fail r2 ") + kCrash});
}

TEST_F(DispatcherFaultsTest, WordsAboutUnknownRunnersAreIgnored) {
  loaded(7);
  gone(7);
  tell(event::Progress{RunnerId{7}});
  tell(event::LoadProgress{RunnerId{7}, 1});
  tell(event::LoadFailed{RunnerId{7}, internal("x"), true});
  send_output(RequestId{7});
  finish(RequestId{7});
  EXPECT_EQ(actions(), Log{});
}

}  // namespace
}  // namespace drover
