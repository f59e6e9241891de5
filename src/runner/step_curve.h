// What a step of so many rows takes, learned from measured steps. The engine's kernels work in tiles, so the curve has
// stairs, and where they are depends on the machine and the model. Nothing is assumed but that more rows take no less
// time, and that a step takes no longer than two steps that hold its rows between them. Pure; the scheduler's thread
// owns it.
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

  // A step with so many rows took so long. Steps have numbers that grow. Returns by what factor the machine has changed
  // (1 if that is not known yet). Older measurements of other sizes are multiplied by it: they say what shape the curve
  // has, and the new one says how fast the machine is.
  double observe(int rows, double seconds, std::int64_t step);

  bool empty() const { return largest_ == 0; }
  int largest() const { return largest_; }                  // most rows that were measured; 0: none
  int largest_since(std::int64_t step) const;               // the same, from that step on
  double at(int rows) const;                                // seconds, as expected; 0 if empty
  double at_most(int rows) const;                           // seconds, even if a stair begins right behind the largest
  const std::vector<int>& sizes() const { return sizes_; }  // to choose from, in growing order

 private:
  static constexpr int kSamples = 5;
  struct Point {
    std::array<double, kSamples> seconds{};  // the latest
    int samples = 0;                         // measured so far
    std::int64_t step = 0;                   // of the latest
    double level = 1;                        // seconds: what older measurements of other sizes were adjusted to

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
  double slope_ = 0;  // seconds for each row beyond the largest
};

}  // namespace drover
