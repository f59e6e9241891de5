// The time of a step by its number of rows, learned from measured steps. The engine's kernels work in tiles, so the
// curve has stairs, whose positions depend on the machine and the model. Two assumptions: more rows never take less
// time, and a step never takes longer than two steps that share its rows. Pure; the scheduler's thread owns it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace drover {

class StepCurve {
 public:
  // Steps have 1 to `rows_max` rows.
  explicit StepCurve(int rows_max);

  // A step of `rows` rows took `seconds`. `step` is its number, which grows. Returns the factor by which the machine
  // has changed (1 if that is unknown). Older measurements of other sizes are multiplied by it: they give the shape of
  // the curve, the new one gives the speed of the machine.
  double observe(int rows, double seconds, std::int64_t step);

  bool empty() const { return largest_ == 0; }
  int largest() const { return largest_; }                  // most rows measured; 0: none
  int largest_since(std::int64_t step) const;               // the same, from that step on
  double at(int rows) const;                                // expected seconds; 0 if empty
  double at_most(int rows) const;                           // seconds, even if a stair begins right after the largest
  const std::vector<int>& sizes() const { return sizes_; }  // the sizes to choose from, ascending

 private:
  static constexpr int kSamples = 5;
  struct Point {
    std::array<double, kSamples> seconds{};  // the latest
    int samples = 0;                         // measured so far
    std::int64_t step = 0;                   // of the latest
    double level = 1;  // seconds: the level that older measurements of other sizes were adjusted to

    double usual() const;
    double least() const;
    void add(double measured);
  };

  void share(std::size_t measured, double factor, std::int64_t step);
  void rebuild(std::int64_t step);

  std::vector<int> sizes_;
  std::vector<Point> points_;     // for each size
  std::vector<double> expected_;  // for each size: seconds
  int largest_ = 0;
  double slope_ = 0;  // seconds per row beyond the largest
};

}  // namespace drover
