// How many prompt tokens a step may hold: while streams have a pace, so that prompts are computed at a good price and
// the time between two tokens of a stream stays near its target; while none has, so that a step ends soon enough for
// those who come or leave meanwhile. Learned from measured steps: a step takes what its rows take, by the curve, and
// what the streams among them take beyond that. Pure; the scheduler's thread owns it.
#pragma once

#include <cstdint>
#include <map>

#include "base/clock.h"
#include "runner/step_curve.h"

namespace drover {

class StepBudget {
 public:
  // The target is `gap_target` > 0. If it `adapts` that is a floor; where more, it is half a second, but at least 4
  // times and at most 8 times the idle inter-token time: of the streams, and of those that will be streams once their
  // prompts are computed. Then it is also exceeded, up to 2.5 times, where that makes prompts much quicker, and now and
  // then to see whether it would.
  StepBudget(Duration gap_target, bool adapts, int step_tokens_max);

  // Before there are requests: how many rows a step should have that is computed only to measure it, by observe(0,
  // rows, took). 0: none any more. All of them take about half a second, or one row's time if that is more.
  int calibration_rows() const;

  // Prompt tokens for a step with `generating` > 0 tokens of streams, and parts of so many prompts. 0 now and then, for
  // one step: to measure what the streams take alone, where that is not known.
  int prompt_tokens(int generating, int prompts) const;
  // Prompt tokens for a step while no stream has a pace, beside so many tokens of streams: the best that
  // takes no more than 1.5 seconds.
  int prompt_tokens_alone(int generating = 0) const;
  // A step with so many tokens of streams and of prompts took so long.
  void observe(int generating, int prompt, Duration took);

 private:
  struct Alone {
    double seconds = 0;
    int samples = 0;
    std::int64_t step = 0;  // when it was measured
  };
  // What a step's time may be and costs.
  struct Aim {
    double target = 0;        // seconds
    double longest = 0;       // seconds
    double unnoticed = 0;     // seconds that are as good as none
    double price_before = 0;  // what a percent of time more costs up to the target, in percent of time per prompt token
    double price_beyond = 0;  // and from the target on
    bool nobody_waits = false;  // no stream has a pace
  };

  Aim aim_of(int generating, int prompts) const;
  static double price_of(double time, const Aim& aim);
  int best(int generating, int least, const Aim& aim) const;
  int explore(int generating, int planned, const Aim& aim) const;
  int largest_of_late() const;  // size that was measured; 0: none
  void learn_alone(int generating, double measured);
  void learn_growth(double each_before, double each);
  double alone_seconds(int generating) const;
  double extra_seconds(int generating) const;
  bool measure_now(int generating) const;

  double gap_target_seconds_;
  bool adapts_;
  int step_tokens_max_;
  StepCurve curve_;
  std::map<int, Alone> alone_;  // by number of streams: a step without prompt tokens
  std::int64_t step_ = 0;
  std::int64_t measured_alone_ = 0;  // the latest step without prompt tokens
  double spent_seconds_ = 0;         // in all steps
  std::int64_t changed_ = 0;         // the step in which the machine was last found to have changed
  std::int64_t explore_at_ = 0;      // the next step that may be larger than all of late, to see what that takes
  std::int64_t explore_wait_;        // so many steps after this one, if it does not pay
};

}  // namespace drover
