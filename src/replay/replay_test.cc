// A day of a server that is simulated step by step is recorded, and its replay is compared with what that server does
// under the other settings.
#include "replay/replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <sstream>

#include "policy/dispatcher.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

// What the server is made of, and what a replay has to find out.
constexpr Duration kStep = 20ms;
constexpr Duration kStepBeside = 5ms;
constexpr Duration kPromptToken = 20us;
constexpr Duration kLoad = 3s;
constexpr Duration kStop = 100ms;

struct Job {
  TimePoint at;
  std::string client;
  int model = 0;
  std::uint32_t prompt = 0;
  std::uint32_t output = 0;
};

// Requests of two clients, from a seed.
std::vector<Job> jobs(int count, Duration gap_mean, int models = 1) {
  std::mt19937_64 random(7);
  const auto unit = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  std::vector<Job> jobs;
  TimePoint now = kDayBegins + 1s;
  for (int i = 0; i < count; ++i) {
    now += Duration(static_cast<std::int64_t>(-std::log(1 - unit()) * static_cast<double>(gap_mean.count())));
    Job job{now, unit() < 0.5 ? "id:a" : "id:b", 0, 0, 0};
    if (models > 1) job.model = static_cast<int>(unit() * models);
    job.prompt = 20 + static_cast<std::uint32_t>(unit() * 80);
    job.output = 20 + static_cast<std::uint32_t>(unit() * 60);
    jobs.push_back(job);
  }
  return jobs;
}

DispatcherConfig config(int slots) {
  DispatcherConfig config;
  config.waiting_max = 100000;
  config.slots = slots;
  config.request_timeout = 0s;
  return config;
}

// Its runners compute one token for each running request in a step; a step that a prompt is in takes longer.
class Server {
 public:
  // `runner_slots`: of each runner; 0: as the settings say.
  Server(const DispatcherConfig& config, std::vector<Job> jobs, int runner_slots = 0)
      : slots_(runner_slots > 0 ? runner_slots : config.slots),
        dispatcher_(config),
        jobs_(std::move(jobs)),
        record_(record_head(config)) {}

  void run() {
    while (next()) {
    }
  }
  const std::string& record() const { return record_; }
  const Outcome& outcome() const { return ledger_.outcome(); }

 private:
  struct Running {
    std::size_t job = 0;  // its request's number is one more
    std::uint32_t tokens = 0;
    bool begun = false;  // is in the step
  };
  struct Runner {
    ModelId model;
    TimePoint due = kNever;  // the end of its load, of its step, or of itself
    bool loaded = false;
    bool stopping = false;
    std::vector<Running> running;
  };

  bool next() {
    Runner* runner = nullptr;
    RunnerId id;
    for (auto& [number, one] : runners_)
      if (!runner || one.due < runner->due) {
        runner = &one;
        id = number;
      }
    const TimePoint due = runner ? runner->due : kNever;
    const TimePoint arrival = arrived_ < jobs_.size() ? jobs_[arrived_].at : kNever;
    const TimePoint tick = dispatcher_.next_due();
    if (arrival == kNever && dispatcher_.requests().empty()) return false;
    now_ = std::max(now_, std::min({due, arrival, tick}));
    if (due <= now_) {
      go_on(id, *runner);
    } else if (arrival <= now_) {
      arrive();
    } else {
      tell(event::Tick{});
    }
    return true;
  }

  void arrive() {
    const Job& job = jobs_[arrived_++];
    Arrival arrival;
    arrival.request = RequestId{arrived_};
    arrival.model = ModelId{static_cast<std::uint32_t>(job.model)};
    arrival.client = job.client + "~12345678";
    ledger_.arrived(arrival, now_);
    tell(event::Admit{arrival});
  }

  void go_on(RunnerId id, Runner& runner) {
    runner.due = kNever;
    if (runner.stopping) {
      runners_.erase(id);
      return tell(event::RunnerGone{id, "asked to", {}});
    }
    if (!runner.loaded) {
      runner.loaded = true;
      return tell(event::Loaded{id, slots_, 4096, 0});
    }
    std::vector<Event> events;
    for (Running& one : runner.running) {
      if (!one.begun) continue;
      const RequestId request{one.job + 1};
      if (++one.tokens == 1) events.push_back(event::OutputSent{request});
      if (one.tokens < jobs_[one.job].output) continue;
      events.push_back(event::Finished{request, jobs_[one.job].prompt, one.tokens});
    }
    std::erase_if(runner.running, [&](const Running& one) { return one.tokens >= jobs_[one.job].output; });
    for (const Event& event : events) tell(event);
    begin_step(runners_.at(id));
  }

  void begin_step(Runner& runner) {
    if (runner.due != kNever || runner.running.empty()) return;
    Duration step = kStep + kStepBeside * (static_cast<int>(runner.running.size()) - 1);
    for (Running& one : runner.running)
      if (!std::exchange(one.begun, true)) step += kPromptToken * jobs_[one.job].prompt;
    runner.due = now_ + step;
  }

  void tell(const Event& event) {
    record_ += record_line({now_ - kDayBegins, event, "cria"});
    for (const Action& action : dispatcher_.apply(event, now_)) {
      ledger_.decided(action, now_);
      if (const auto* start = std::get_if<StartRunner>(&action)) {
        runners_[start->runner].model = start->model;
        runners_[start->runner].due = now_ + kLoad;
      } else if (const auto* stop = std::get_if<StopRunner>(&action)) {
        runners_.at(stop->runner).stopping = true;
        runners_.at(stop->runner).due = now_ + kStop;
      } else if (const auto* dispatch = std::get_if<Dispatch>(&action)) {
        Runner& runner = runners_.at(dispatch->runner);
        runner.running.push_back({dispatch->request.value - 1, 0, false});
        if (runner.running.size() == 1) begin_step(runner);
      }
    }
  }

  const int slots_;
  Dispatcher dispatcher_;
  const std::vector<Job> jobs_;
  std::string record_;
  Ledger ledger_;
  TimePoint now_ = kDayBegins;
  std::size_t arrived_ = 0;
  std::map<RunnerId, Runner> runners_;
};

Recording read(const std::string& text) {
  std::istringstream file(text);
  Result<Recording> recording = read_recording(file);
  EXPECT_TRUE(recording.ok()) << recording.error().message;
  return recording ? *std::move(recording) : Recording{};
}

// The day of a server that has so many slots.
Recording day_of(int slots, const std::vector<Job>& jobs) {
  Server server(config(slots), jobs);
  server.run();
  return read(server.record());
}

Outcome truth(int slots, const std::vector<Job>& jobs) {
  Server server(config(slots), jobs);
  server.run();
  return server.outcome();
}

constexpr int kJobs = 1500;
constexpr Duration kBusy = 500ms;     // between two requests: four slots are enough, two are not
constexpr Duration kTooBusy = 400ms;  // nor are four

TEST(Replay, UnderItsOwnSettingsADayComesOutAsItWas) {
  const Answer day = answer(day_of(4, jobs(kJobs, kBusy)), {});
  ASSERT_FALSE(day.why_not) << *day.why_not;
  EXPECT_EQ(day.recorded.waits.count(), static_cast<std::size_t>(kJobs));
  EXPECT_GT(day.recorded.waits.mean(), 0.01) << "there is something to reproduce";
  EXPECT_NEAR(day.replayed.waits.mean(), day.recorded.waits.mean(), kWaitErrorMax * day.recorded.waits.mean());
  EXPECT_EQ(day.changed.waits.mean(), day.replayed.waits.mean()) << "nothing was changed";
}

TEST(Replay, SeveralModelsThatTakeTurnsComeOutAsTheyDid) {
  DispatcherConfig one_model = config(4);
  one_model.loaded_models_max = 1;
  Server server(one_model, jobs(600, 2s, 2));
  server.run();
  const Answer day = answer(read(server.record()), {});
  ASSERT_FALSE(day.why_not) << *day.why_not;
  EXPECT_GT(day.recorded.waits.mean(), 1) << "they wait for loads";
}

TEST(Replay, HowLongAStepTakesIsLearned) {
  const Answer day = answer(day_of(4, jobs(kJobs, kBusy)), {});
  ASSERT_EQ(day.models.size(), 1u);
  const ServiceModel& model = day.models.begin()->second;
  ASSERT_TRUE(model.knows_steps);
  EXPECT_NEAR(model.alone, to_seconds(kStep), 0.2 * to_seconds(kStep));
  EXPECT_NEAR(model.beside, to_seconds(kStepBeside), 0.4 * to_seconds(kStepBeside));
  EXPECT_EQ(model.running_max, 4);
  EXPECT_EQ(model.load_mean, kLoad);
}

TEST(Replay, FewerSlotsDoWhatTheyDoToTheServer) {
  const std::vector<Job> work = jobs(kJobs, kBusy);
  const Answer day = answer(day_of(4, work), {.parallel = 2});
  ASSERT_FALSE(day.why_not) << *day.why_not;
  const double wait = truth(2, work).waits.mean();
  EXPECT_GT(wait, 3 * day.recorded.waits.mean());
  EXPECT_NEAR(day.changed.waits.mean(), wait, 0.3 * wait);
}

TEST(Replay, EmbeddingsDoNotHeedTheNumberOfParallelGenerations) {
  Server server(config(4), jobs(kJobs, kTooBusy), kEmbeddingSlots);
  server.run();
  const Answer day = answer(read(server.record()), {.parallel = 1});
  ASSERT_FALSE(day.why_not) << *day.why_not;
  EXPECT_EQ(day.changed.waits.mean(), day.replayed.waits.mean());
}

TEST(Replay, MoreSlotsThanTheRecordHasSeenAreAnsweredWithANote) {
  const Answer day = answer(day_of(4, jobs(kJobs, kTooBusy)), {.parallel = 8});
  ASSERT_FALSE(day.why_not) << *day.why_not;
  EXPECT_LT(day.changed.waits.mean(), day.recorded.waits.mean());
  const auto tells = [](const std::string& note) { return note.find("beyond that") != std::string::npos; };
  EXPECT_TRUE(std::any_of(day.notes.begin(), day.notes.end(), tells));
}

TEST(Replay, WeightsShiftWaitsFromOneClientToTheOther) {
  const Answer day = answer(day_of(4, jobs(kJobs, kTooBusy)), {.weights = {{"id:a", 4}}});
  ASSERT_FALSE(day.why_not) << *day.why_not;
  EXPECT_LT(day.changed.clients.at("id:a~12345678").mean(), day.changed.clients.at("id:b~12345678").mean() / 2);
}

TEST(Replay, AShortQueueRefuses) {
  const Answer day = answer(day_of(4, jobs(kJobs, kTooBusy)), {.queue_max = 2});
  ASSERT_FALSE(day.why_not) << *day.why_not;
  EXPECT_EQ(day.replayed.refused, 0u);
  EXPECT_GT(day.changed.refused, 0u);
  EXPECT_LT(day.changed.waits.mean(), day.recorded.waits.mean());
}

TEST(Replay, WhatTheRecordDoesNotSayIsNotAnswered) {
  const Answer day = answer(day_of(1, jobs(200, 3s)), {.parallel = 4});
  ASSERT_TRUE(day.why_not);
  EXPECT_NE(day.why_not->find("does not say"), std::string::npos) << *day.why_not;
}

TEST(Replay, ARecordThatDoesNotFitIsNotAnswered) {
  Server server(config(4), jobs(200, kBusy));
  server.run();
  std::string without_loads;
  std::istringstream lines(server.record());
  for (std::string line; std::getline(lines, line);)
    if (line.find("\"loaded\"") == std::string::npos) without_loads += line + "\n";
  const Answer day = answer(read(without_loads), {});
  ASSERT_TRUE(day.why_not);
  EXPECT_NE(day.why_not->find("do not fit"), std::string::npos) << *day.why_not;
}

TEST(Replay, ARecordIsReadToItsLastWholeLine) {
  Server server(config(4), jobs(20, kBusy));
  server.run();
  const std::string& whole = server.record();
  EXPECT_FALSE(read(whole).cut);
  EXPECT_TRUE(read(whole.substr(0, whole.size() - 5)).cut);
  for (const std::string& broken : {std::string(), std::string("{}\n"), whole + "nonsense\n", whole + whole}) {
    std::istringstream file(broken);
    EXPECT_FALSE(read_recording(file).ok());
  }
}

}  // namespace
}  // namespace drover
