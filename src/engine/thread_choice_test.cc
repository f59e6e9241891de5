#include "engine/thread_choice.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace drover {
namespace {

// A machine with so many processors, on which other programs would keep so many threads busy, for ever.
struct Machine {
  int processors;
  int others;
};

// A step on as many threads as were chosen, of some 30 ms, and a look at what is idle.
void compute(ThreadChoice& choice, const Machine& machine) {
  const int threads = choice.threads();
  const double share = std::min(1.0, static_cast<double>(machine.processors) / (threads + machine.others));
  choice.observe_step(threads, 0.03, threads * share * 0.03);
  if (choice.reduced()) choice.observe_idle(std::max(0, machine.processors - threads - machine.others));
}

int settled(ThreadChoice& choice, const Machine& machine) {
  for (int i = 0; i < 50; ++i) compute(choice, machine);
  const int threads = choice.threads();
  for (int i = 0; i < 50; ++i) {
    compute(choice, machine);
    EXPECT_EQ(choice.threads(), threads);  // it does not swing
  }
  return threads;
}

TEST(ThreadChoice, AllThreadsOnAMachineOfItsOwn) {
  ThreadChoice two(2);
  EXPECT_EQ(settled(two, {2, 0}), 2);
  ThreadChoice many(16);
  EXPECT_EQ(settled(many, {16, 0}), 16);
  EXPECT_FALSE(many.reduced());
}

TEST(ThreadChoice, FewerWhereOthersWantTheProcessors) {
  ThreadChoice two(2);
  EXPECT_EQ(settled(two, {2, 2}), 1);
  EXPECT_EQ(settled(two, {2, 20}), 1);
  ThreadChoice many(16);
  EXPECT_EQ(settled(many, {16, 8}), 8);
}

TEST(ThreadChoice, AllAgainOnceTheOthersHaveGone) {
  ThreadChoice choice(8);
  EXPECT_LT(settled(choice, {8, 16}), 4);
  EXPECT_EQ(settled(choice, {8, 0}), 8);
}

TEST(ThreadChoice, OneStepThatWasHeldUpChangesNothing) {
  ThreadChoice choice(2);
  choice.observe_step(2, 0.01, 0.005);
  for (int i = 0; i < 50; ++i) choice.observe_step(2, 0.03, 0.06);
  EXPECT_EQ(choice.threads(), 2);
}

TEST(ThreadChoice, StepsOnFewerThreadsThanChosenSayNothing) {
  ThreadChoice choice(4);
  for (int i = 0; i < 50; ++i) choice.observe_step(1, 0.03, 0.001);
  for (int i = 0; i < 50; ++i) choice.observe_step(2, 0.03, 0.001);
  EXPECT_EQ(choice.threads(), 4);
}

}  // namespace
}  // namespace drover
