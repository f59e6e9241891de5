// How many prompt tokens fit in a step. While streams have a pace: as many as are computed efficiently and keep the
// streams' inter-token time near its target. While none has: a step of about 1.5 seconds, so that new and canceled
// requests do not wait long. Learned from measured steps: the time of a step is the time of its rows, by the curve, and
// the extra time of the streams among them. Pure; the scheduler's thread owns it.
#pragma once

#include <cstdint>
#include <map>

#include "base/clock.h"
#include "runner/step_curve.h"

namespace drover {

class StepBudget {
 public:
  // The target is `gap_target` > 0. If it `adapts`, gap_target is a floor. The target then is half a second, but at
  // least 4 times and at most 8 times the inter-token time without prompts, for the present streams and those that will
  // follow from the present prompts. It is also exceeded, up to 2.5 times, where that makes prompts much faster, and
  // now and then to measure whether it would.
  StepBudget(Duration gap_target, bool adapts, int step_tokens_max);

  // Before there are requests: the number of rows of a step that is computed only to measure it, with observe(0, rows,
  // took). 0: no more such steps. All of them together take about half a second, or one row's time if that is more.
  int calibration_rows() const;

  // Prompt tokens for a step with `generating` > 0 tokens of streams and parts of `prompts` prompts. Now and then 0 for
  // one step, to measure the time of the streams alone if it is unknown.
  int prompt_tokens(int generating, int prompts) const;
  // Prompt tokens for a step with `generating` tokens of streams while none of them has a pace: the most efficient
  // number that takes at most 1.5 seconds.
  int prompt_tokens_alone(int generating = 0) const;
  // A step with `generating` tokens of streams and `prompt` tokens of prompts took `took`.
  void observe(int generating, int prompt, Duration took);

 private:
  struct Alone {
    double seconds = 0;
    int samples = 0;
    std::int64_t step = 0;  // when it was measured
  };
  // Limits and price of a step's time.
  struct Aim {
    double target = 0;     // seconds
    double longest = 0;    // seconds
    double unnoticed = 0;  // seconds that do not count
    double price_before =
        0;  // up to the target: the time per prompt token, in percent, that one percent of step time must save
    double price_beyond = 0;    // the same beyond the target
    bool nobody_waits = false;  // no stream has a pace
  };

  Aim aim_of(int generating, int prompts) const;
  static double price_of(double time, const Aim& aim);
  int best(int generating, int least, const Aim& aim) const;
  int explore(int generating, int planned, const Aim& aim) const;
  int largest_of_late() const;  // the largest size measured recently; 0: none
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
  std::int64_t explore_at_ = 0;      // the next step that may be larger than all recent ones, to measure its time
  std::int64_t explore_wait_;        // steps until the next trial, if this one does not pay
};

}  // namespace drover
