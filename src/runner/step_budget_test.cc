#include "runner/step_budget.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

namespace drover {
namespace {

using std::chrono::milliseconds;

constexpr int kStepTokensMax = 512;

// A machine on which a step of so many stream and prompt tokens takes so many milliseconds.
using Machine = std::function<double(int generating, int prompt)>;

Duration duration_of(double ms) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(ms));
}

// The next step as the budget allows it.
int step(StepBudget& budget, const Machine& machine, int generating) {
  const int prompt = budget.prompt_tokens(generating, 1);
  budget.observe(generating, prompt, duration_of(machine(generating, prompt)));
  return prompt;
}

double slow_machine(int generating, int prompt) {
  return 14 + 15.0 * generating + 9.0 * prompt;
}

TEST(StepBudget, StartsSmall) {
  const StepBudget budget(milliseconds(100), true, kStepTokensMax);
  EXPECT_LE(budget.prompt_tokens(4, 1), 32);
  EXPECT_GE(budget.prompt_tokens(4, 1), 8);
}

TEST(StepBudget, SettlesNearTheTargetOnASlowMachine) {
  StepBudget budget(milliseconds(400), false, kStepTokensMax);
  for (int i = 0; i < 3; ++i) budget.observe(3, 0, duration_of(slow_machine(3, 0)));
  for (int i = 0; i < 100; ++i) {
    const int prompt = step(budget, slow_machine, 3);
    EXPECT_LE(slow_machine(3, prompt), 400 * 1.1);
    if (prompt > 0) {
      EXPECT_GE(slow_machine(3, prompt), 400 * 0.6);
    }
  }
}

TEST(StepBudget, ReachesFullBatchesOnAFastMachine) {
  const Machine fast = [](int generating, int prompt) { return 8 + 0.1 * generating + 0.03 * prompt; };
  StepBudget budget(milliseconds(100), true, kStepTokensMax);
  int prompt = 0;
  for (int i = 0; i < 10; ++i) prompt = step(budget, fast, 16);
  EXPECT_EQ(prompt, kStepTokensMax - 16);
}

TEST(StepBudget, AloneAStepTakesASecondAndAHalf) {
  const auto settled = [](double ms_per_token) {
    StepBudget budget(milliseconds(100), true, kStepTokensMax);
    EXPECT_EQ(budget.prompt_tokens_alone(), 64);
    for (int i = 0; i < 20; ++i) {
      const int prompt = budget.prompt_tokens_alone();
      budget.observe(0, prompt, duration_of(ms_per_token * prompt));
    }
    return budget.prompt_tokens_alone();
  };
  EXPECT_EQ(settled(0.1), kStepTokensMax);
  EXPECT_EQ(settled(9), 164);    // 166 would fit, and are no multiple
  EXPECT_EQ(settled(1000), 16);  // it goes on however slow it is
}

TEST(StepBudget, FourTimesTheIdleGapIsAllowedIfTheTargetAdapts) {
  const auto settled = [](bool adapts) {
    StepBudget budget(milliseconds(100), adapts, kStepTokensMax);
    for (int i = 0; i < 5; ++i) budget.observe(16, 0, duration_of(slow_machine(16, 0)));
    int prompt = 0;
    for (int i = 0; i < 10; ++i) prompt = step(budget, slow_machine, 16);
    return slow_machine(16, prompt);
  };
  const double idle = slow_machine(16, 0);
  EXPECT_GT(settled(true), 2.5 * idle);
  EXPECT_LT(settled(true), 4.2 * idle);
  EXPECT_LT(settled(false), 1.5 * idle);  // the target cannot be kept; prompts get the least
}

TEST(StepBudget, TheTargetIsThatOfAllWhoseTokensWillBeComputed) {
  StepBudget budget(milliseconds(100), true, kStepTokensMax);
  budget.observe(1, 0, duration_of(slow_machine(1, 0)));
  int prompt = 0;
  for (int i = 0; i < 10; ++i) {
    prompt = budget.prompt_tokens(1, 15);
    budget.observe(1, prompt, duration_of(slow_machine(1, prompt)));
  }
  // Nothing but the cost of a prompt's token is known of the other fifteen streams.
  EXPECT_GT(slow_machine(1, prompt), 2 * slow_machine(16, 0));
  EXPECT_LT(slow_machine(1, prompt), 4 * slow_machine(16, 0));
  EXPECT_LT(budget.prompt_tokens(1, 1), prompt / 3);
}

TEST(StepBudget, PromptsGoOnHoweverSlowTheStepsAre) {
  StepBudget budget(milliseconds(1), false, kStepTokensMax);
  int least = kStepTokensMax;
  int pauses = 0;
  for (int i = 0; i < 200; ++i) {
    const int prompt = step(budget, slow_machine, 4);
    if (prompt == 0) {
      ++pauses;
    } else {
      least = std::min(least, prompt);
    }
  }
  EXPECT_GE(least, 8);
  EXPECT_LE(pauses, 2);
}

TEST(StepBudget, OneSlowStepChangesNothing) {
  StepBudget budget(milliseconds(400), false, kStepTokensMax);
  budget.observe(3, 0, duration_of(slow_machine(3, 0)));
  for (int i = 0; i < 10; ++i) step(budget, slow_machine, 3);
  const int before = budget.prompt_tokens(3, 1);
  budget.observe(3, before, duration_of(20 * slow_machine(3, before)));
  EXPECT_EQ(budget.prompt_tokens(3, 1), before);
}

TEST(StepBudget, FollowsAMachineThatBecomesSlower) {
  StepBudget budget(milliseconds(400), false, kStepTokensMax);
  budget.observe(3, 0, duration_of(slow_machine(3, 0)));
  for (int i = 0; i < 10; ++i) step(budget, slow_machine, 3);
  const Machine slower = [](int generating, int prompt) { return slow_machine(generating, 2 * prompt); };
  int prompt = 0;
  for (int i = 0; i < 10; ++i) prompt = step(budget, slower, 3);
  EXPECT_LE(slower(3, prompt), 400 * 1.1);
}

TEST(StepBudget, MeasuresWhatMoreStreamsTakeAlone) {
  StepBudget budget(milliseconds(100), true, kStepTokensMax);
  budget.observe(1, 0, duration_of(slow_machine(1, 0)));
  for (int i = 0; i < 40; ++i) step(budget, slow_machine, 1);
  // Sixteen streams take 9 times what one takes; a target that knows only of one would leave prompts the least forever.
  int prompt = 0;
  for (int i = 0; i < 40; ++i) prompt = step(budget, slow_machine, 16);
  EXPECT_GE(prompt, 40);
}

TEST(StepBudget, NeverMoreThanTwiceWhatWasTried) {
  StepBudget budget(milliseconds(100), true, kStepTokensMax);
  budget.observe(4, 30, milliseconds(1));
  EXPECT_GE(budget.prompt_tokens(4, 1), 40);
  EXPECT_LE(budget.prompt_tokens(4, 1), 60);
}

TEST(StepBudget, AFewTokensSayNothingAboutTheirCost) {
  StepBudget budget(milliseconds(100), true, kStepTokensMax);
  const int before = budget.prompt_tokens(4, 1);
  budget.observe(4, 2, milliseconds(90));
  EXPECT_EQ(budget.prompt_tokens(4, 1), before);
}

TEST(StepBudget, RowsAreMultiplesThatTheEngineLikes) {
  StepBudget budget(milliseconds(400), false, kStepTokensMax);
  budget.observe(3, 0, duration_of(slow_machine(3, 0)));
  for (int i = 0; i < 10; ++i) {
    const int prompt = step(budget, slow_machine, 3);
    EXPECT_EQ((prompt + 3) % 4, 0);
  }
}

TEST(StepBudget, NeverMoreThanTheStepHolds) {
  StepBudget budget(milliseconds(1000), true, 20);
  for (int i = 0; i < 20; ++i) {
    EXPECT_LE(budget.prompt_tokens(16, 1), 4);
    EXPECT_EQ(budget.prompt_tokens(20, 1), 0);
    budget.observe(4, 16, milliseconds(1));
  }
}

TEST(StepBudget, NoiseDoesNotThrowItOff) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> noise(0.7, 1.5);
  StepBudget budget(milliseconds(400), false, kStepTokensMax);
  const Machine noisy = [&](int generating, int prompt) { return slow_machine(generating, prompt) * noise(random); };
  double total = 0;
  constexpr int kSteps = 500;
  for (int i = 0; i < kSteps; ++i) total += slow_machine(3, step(budget, noisy, 3));
  EXPECT_LT(total / kSteps, 440);
  EXPECT_GT(total / kSteps, 200);
}

}  // namespace
}  // namespace drover
