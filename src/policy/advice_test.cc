#include "policy/advice.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

namespace drover {
namespace {

AdviceModel busy_model() {
  AdviceModel model;
  model.name = "cria";
  model.loaded = true;
  model.running = 1;
  model.slots = 1;
  model.waiting = 3;
  model.more_bytes = 100;
  return model;
}

AdviceModel absent_model() {
  AdviceModel model;
  model.name = "other";
  model.waiting = 1;
  model.more_bytes = 1000;
  return model;
}

struct Machine {
  std::vector<AdviceModel> models = {busy_model()};
  AdviceInput input = {
      .models = {}, .idle_share = 0.6, .parallel = 1, .runners = 1, .runners_max = 3, .room_bytes = std::nullopt};

  std::string setting() {
    input.models = models;
    const auto advice = advise(input);
    return advice ? advice->setting : "";
  }
  std::string text() {
    input.models = models;
    return advise(input).value_or(Advice{}).text;
  }
};

TEST(Advise, NamesTheNumberOfSlots) {
  Machine machine;
  EXPECT_EQ(machine.setting(), "OLLAMA_NUM_PARALLEL");
  EXPECT_EQ(machine.text(),
            "a larger OLLAMA_NUM_PARALLEL than 1 (or auto) would help: 3 requests wait for cria while 60 % of the "
            "processors are idle");
  machine.models[0].waiting = 1;
  EXPECT_NE(machine.text().find(": 1 request waits for cria while"), std::string::npos);
}

TEST(Advise, NothingWhileNobodyWaitsOrNothingIsIdle) {
  Machine machine;
  machine.models[0].waiting = 0;
  EXPECT_EQ(machine.setting(), "");
  machine = {};
  machine.input.idle_share = 0.4;  // the one that runs takes 0.6
  EXPECT_EQ(machine.setting(), "");
  machine.models[0].running = machine.models[0].slots = machine.input.parallel = 4;  // each takes 0.15
  EXPECT_EQ(machine.setting(), "OLLAMA_NUM_PARALLEL");
  machine.models[0].running = machine.models[0].slots = machine.input.parallel = 40;
  machine.input.idle_share = 0.05;
  EXPECT_EQ(machine.setting(), "");
}

TEST(Advise, NothingWhereTheSettingIsNotWhatHolds) {
  Machine machine;
  machine.input.parallel = 0;  // auto knows better
  EXPECT_EQ(machine.setting(), "");
  machine = {};
  machine.input.parallel = 8;  // memory allowed one slot only
  EXPECT_EQ(machine.setting(), "");
  machine = {};
  machine.models[0].slots = 2;  // one is free: the next is about to get it
  EXPECT_EQ(machine.setting(), "");
  machine = {};
  machine.models[0].generates = false;
  EXPECT_EQ(machine.setting(), "");
  machine = {};
  machine.models[0].running = 0;  // it has just been loaded
  EXPECT_EQ(machine.setting(), "");
}

TEST(Advise, NothingWithoutMemoryForIt) {
  Machine machine;
  machine.input.room_bytes = 99;
  EXPECT_EQ(machine.setting(), "");
  machine.input.room_bytes = 100;
  EXPECT_EQ(machine.setting(), "OLLAMA_NUM_PARALLEL");
}

TEST(Advise, NamesTheNumberOfModelsWhenTheyWaitForEachOther) {
  Machine machine;
  machine.models[0].waiting = 0;
  machine.models.push_back(absent_model());
  EXPECT_EQ(machine.setting(), "") << "it is about to be loaded";
  machine.input.runners_max = 1;
  EXPECT_EQ(machine.setting(), "OLLAMA_MAX_LOADED_MODELS");
  EXPECT_EQ(machine.text(),
            "a larger OLLAMA_MAX_LOADED_MODELS than 1 would help: 1 request waits for other while 60 % of the "
            "processors are idle, and there is memory for it");
  machine.input.room_bytes = 999;
  EXPECT_EQ(machine.setting(), "") << "memory is what holds";
}

TEST(Advisor, ShowsWhatHoldsAndLogsItSeldom) {
  Advisor advisor;
  TimePoint now{};
  const auto step = std::chrono::seconds(5);
  const Advice first{"A", "1 waits"};
  EXPECT_FALSE(advisor.update(first, now));
  EXPECT_FALSE(advisor.shown());
  EXPECT_TRUE(advisor.update(Advice{"A", "2 wait"}, now += step));
  EXPECT_EQ(advisor.shown()->text, "2 wait");
  EXPECT_FALSE(advisor.update(first, now += step)) << "it has been said";
  EXPECT_TRUE(advisor.shown());
  EXPECT_FALSE(advisor.update(Advice{"B", "1 waits"}, now += step));
  EXPECT_FALSE(advisor.shown()) << "another one has not held yet";
  EXPECT_FALSE(advisor.update(std::nullopt, now += step));
  EXPECT_FALSE(advisor.shown());
  now += std::chrono::minutes(10);
  EXPECT_FALSE(advisor.update(first, now));
  EXPECT_TRUE(advisor.update(first, now += step));
}

}  // namespace
}  // namespace drover
