#include "runner/step_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <utility>

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

TEST(StepBudget, TheTargetIsHalfASecondOrFourTimesTheIdleGap) {
  const auto settled = [](int streams, bool adapts) {
    StepBudget budget(milliseconds(100), adapts, kStepTokensMax);
    for (int i = 0; i < 5; ++i) budget.observe(streams, 0, duration_of(slow_machine(streams, 0)));
    int prompt = 0;
    for (int i = 0; i < 40; ++i) prompt = step(budget, slow_machine, streams);
    return slow_machine(streams, prompt);
  };
  const double idle = slow_machine(16, 0);
  EXPECT_GT(settled(16, true), 2.5 * idle);
  EXPECT_LT(settled(16, true), 4.4 * idle);
  EXPECT_LT(settled(16, false), 1.5 * idle);  // the target cannot be kept; prompts get the least
  EXPECT_GT(settled(6, true), 450);
  EXPECT_LT(settled(6, true), 550);
  EXPECT_GT(settled(1, true), 4 * slow_machine(2, 0));  // half a second would be more than 6 times
  EXPECT_LT(settled(1, true), 6.5 * slow_machine(2, 0));
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
  EXPECT_LT(budget.prompt_tokens(1, 1), prompt / 2);
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

TEST(StepBudget, OneSlowStepOfStreamsAloneChangesLittle) {
  StepBudget budget(milliseconds(400), false, kStepTokensMax);
  for (int i = 0; i < 4; ++i) budget.observe(3, 0, duration_of(slow_machine(3, 0)));
  for (int i = 0; i < 10; ++i) step(budget, slow_machine, 3);
  const int before = budget.prompt_tokens(3, 1);
  budget.observe(3, 0, duration_of(20 * slow_machine(3, 0)));
  EXPECT_GE(budget.prompt_tokens(3, 1), before * 9 / 10);
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

// Measures as a runner does before its first request. Returns the time it takes, and the largest step.
std::pair<double, int> calibrate(StepBudget& budget, const Machine& machine) {
  double total = 0;
  int largest = 0;
  int steps = 0;
  while (const int rows = budget.calibration_rows()) {
    EXPECT_GT(rows, largest);
    EXPECT_LE(rows, kStepTokensMax);
    total += machine(0, rows);
    largest = rows;
    budget.observe(0, rows, duration_of(machine(0, rows)));
    if (++steps > 20) break;
  }
  EXPECT_LE(steps, 8);
  return {total, largest};
}

TEST(StepBudget, CalibrationTakesHalfASecondAtMost) {
  const auto each = [](double ms) { return [=](int, int rows) { return ms * rows; }; };
  for (const double ms : {0.01, 0.1, 1.0, 5.0, 20.0, 60.0}) {
    StepBudget budget(milliseconds(100), true, kStepTokensMax);
    const auto [total, largest] = calibrate(budget, each(ms));
    EXPECT_LE(total, 500) << ms;
    EXPECT_GE(largest, std::min<double>(kStepTokensMax, 500 / ms / 8)) << ms;
  }
}

TEST(StepBudget, CalibrationOfASlowModelEndsWithOneRow) {
  StepBudget budget(milliseconds(100), true, kStepTokensMax);
  const auto [total, largest] = calibrate(budget, [](int, int rows) { return 250.0 * rows; });
  EXPECT_EQ(largest, 1);
  // Nothing that a stair may hide is taken on a guess after it: a step has the least, then at most twice what was
  // tried.
  budget.observe(1, 0, milliseconds(250));
  EXPECT_LE(budget.prompt_tokens(1, 1), 11);
}

TEST(StepBudget, StepsGrowByAtMostTwiceWhatWasTried) {
  for (const int tile : {1, 16, 64, 512}) {
    const Machine machine = [=](int generating, int prompt) {
      return 3 + 2.0 * tile * ((generating + prompt + tile - 1) / tile);
    };
    StepBudget budget(milliseconds(100), true, kStepTokensMax);
    int largest = calibrate(budget, machine).second;
    for (int i = 0; i < 3; ++i) budget.observe(2, 0, duration_of(machine(2, 0)));
    for (int i = 0; i < 200; ++i) {
      const bool alone = i % 50 == 7;
      const int rows = alone ? budget.prompt_tokens_alone() : 2 + step(budget, machine, 2);
      if (alone) budget.observe(0, rows, duration_of(machine(0, rows)));
      EXPECT_LE(rows, std::max(2 * largest, 16)) << tile;
      largest = std::max(largest, rows);
    }
  }
}

TEST(StepBudget, TakesTheWholeTread) {
  const Machine tiles = [](int generating, int prompt) {
    return 20 + 4 * generating + 100.0 * ((generating + prompt + 31) / 32);
  };
  StepBudget budget(milliseconds(250), false, kStepTokensMax);
  calibrate(budget, tiles);
  for (int i = 0; i < 3; ++i) budget.observe(3, 0, duration_of(tiles(3, 0)));
  for (int i = 0; i < 40; ++i) step(budget, tiles, 3);
  EXPECT_EQ(budget.prompt_tokens(3, 1), 61);  // 65 rows would take a third tile, which is beyond the target
}

TEST(StepBudget, ATargetThatDoesNotAdaptIsKeptOnAStair) {
  const Machine tiles = [](int generating, int prompt) { return 20 + 290.0 * ((generating + prompt + 31) / 32); };
  StepBudget budget(milliseconds(400), false, kStepTokensMax);
  calibrate(budget, tiles);
  for (int i = 0; i < 3; ++i) budget.observe(3, 0, duration_of(tiles(3, 0)));
  int beyond = 0;
  for (int i = 0; i < 200; ++i) beyond += tiles(3, step(budget, tiles, 3)) > 400;
  EXPECT_LE(beyond, 3);  // to find the edge
}

TEST(StepBudget, GoesBeyondATargetThatAdaptsWhereThatPays) {
  // As on a Xeon: three streams take 0.12 s, 16 rows 0.75 s, 64 rows 0.9 s.
  const Machine xeon = [](int generating, int prompt) {
    const int rows = generating + prompt;
    if (rows <= 4) return 40.0 * rows;
    if (rows <= 16) return 160 + 590.0 * (rows - 4) / 12;
    if (rows <= 64) return 750 + 150.0 * (rows - 16) / 48;
    return 900.0 * ((rows + 63) / 64);
  };
  StepBudget budget(milliseconds(100), true, kStepTokensMax);
  EXPECT_LE(calibrate(budget, xeon).first, 500);
  for (int i = 0; i < 3; ++i) budget.observe(3, 0, duration_of(xeon(3, 0)));
  double longest = 0;
  for (int i = 0; i < 30; ++i) longest = std::max(longest, xeon(3, step(budget, xeon, 3)));
  EXPECT_EQ(budget.prompt_tokens(3, 1), 61);
  EXPECT_LE(longest, 900);
}

TEST(StepBudget, FollowsAMachineThatBecomesFaster) {
  StepBudget budget(milliseconds(400), false, kStepTokensMax);
  budget.observe(3, 0, duration_of(slow_machine(3, 0)));
  for (int i = 0; i < 20; ++i) step(budget, slow_machine, 3);
  const Machine faster = [](int generating, int prompt) { return 0.5 * slow_machine(generating, prompt); };
  int prompt = 0;
  for (int i = 0; i < 20; ++i) prompt = step(budget, faster, 3);
  EXPECT_GE(faster(3, prompt), 400 * 0.75);
  EXPECT_LE(faster(3, prompt), 400);
}

TEST(StepBudget, FollowsAMachineThatChangesAgainAndAgain) {
  StepBudget budget(milliseconds(400), false, kStepTokensMax);
  budget.observe(3, 0, duration_of(slow_machine(3, 0)));
  for (const double speed : {1.0, 2.0, 0.5, 4.0, 1.0, 0.25}) {
    const Machine machine = [=](int generating, int prompt) { return slow_machine(generating, prompt) / speed; };
    int prompt = 0;
    for (int i = 0; i < 40; ++i) prompt = step(budget, machine, 3);
    const double least = machine(3, 9);  // however slow
    EXPECT_LE(machine(3, prompt), std::max(400 * 1.1, least)) << speed;
    EXPECT_GE(machine(3, prompt), std::min(400 * 0.7, machine(3, 500))) << speed;
  }
}

}  // namespace
}  // namespace drover
