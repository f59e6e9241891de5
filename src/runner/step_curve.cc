#include "runner/step_curve.h"

#include <algorithm>
#include <cmath>

namespace drover {
namespace {

// A measurement this many steps old follows the machine's changes fully, a newer one in part.
constexpr std::int64_t kOldSteps = 8;
// A smaller change is noise and does not affect other sizes.
constexpr double kChangeMin = 1.5;
// The largest change at a time: a few slow steps in a row may be chance.
constexpr double kChangeMax = 2;
// Once in this many steps, sizes that were not measured since are assumed to be as fast as they ever were. Otherwise a
// size that was slow by chance would never be tried again.
constexpr std::int64_t kTryAgainSteps = 16;
// Beyond the largest size, which is unknown, each row costs at least this part of the average.
constexpr double kSlopeMin = 0.5;

// Sizes are dense where a stair may be narrow. All but the smallest are multiples of 4: other numbers of rows cost the
// engine's matrix products an extra pass.
std::vector<int> make_sizes(int rows_max) {
  std::vector<int> sizes;
  for (int rows = 1; rows < rows_max;) {
    sizes.push_back(rows);
    rows += rows < 2 ? 1 : rows < 4 ? 2 : rows < 256 ? 4 : rows < 512 ? 16 : 64;
  }
  sizes.push_back(rows_max);
  return sizes;
}

}  // namespace

StepCurve::StepCurve(int rows_max) : sizes_(make_sizes(rows_max)), points_(sizes_.size()), expected_(sizes_.size()) {}

// The median: a single delayed step changes nothing. Of two values the lower one: a step may be delayed, but never
// finishes too early.
double StepCurve::Point::usual() const {
  std::array<double, kSamples> sorted = seconds;
  const auto end = sorted.begin() + std::min(samples, kSamples);
  std::sort(sorted.begin(), end);
  return sorted[static_cast<std::size_t>(end - sorted.begin() - 1) / 2];
}

double StepCurve::Point::least() const {
  return *std::min_element(seconds.begin(), seconds.begin() + std::min(samples, kSamples));
}

void StepCurve::Point::add(double measured) {
  seconds[static_cast<std::size_t>(samples % kSamples)] = measured;
  ++samples;
}

double StepCurve::observe(int rows, double seconds, std::int64_t step) {
  const auto above = std::upper_bound(sizes_.begin(), sizes_.end(), rows);
  if (above == sizes_.begin()) return 1;
  const auto index = static_cast<std::size_t>(above - sizes_.begin() - 1);
  Point& point = points_[index];
  const bool known = point.samples > 0;
  // The time of more rows limits the time of these, but does not replace their own measurements.
  if (sizes_[index] != rows && known) return 1;
  if (!empty() && rows > largest_) seconds = std::min(seconds, at_most(rows));
  point.add(std::max(seconds, 1e-9));
  point.step = step;
  if (point.samples <= kSamples) point.level = point.usual();
  const double change = std::clamp(point.usual() / point.level, 1 / kChangeMax, kChangeMax);
  const double factor = change > kChangeMin || change < 1 / kChangeMin ? change : 1;
  if (factor != 1) share(index, factor, step);
  point.level *= factor;
  largest_ = std::max(largest_, sizes_[index]);
  rebuild(step);
  return factor;
}

void StepCurve::share(std::size_t measured, double factor, std::int64_t step) {
  for (std::size_t i = 0; i < points_.size(); ++i) {
    if (i == measured || points_[i].samples == 0) continue;
    const std::int64_t age = step - points_[i].step;
    const double each = age >= kOldSteps ? factor : std::pow(factor, static_cast<double>(age) / kOldSteps);
    for (double& seconds : points_[i].seconds) seconds *= each;
    points_[i].level *= each;
  }
}

void StepCurve::rebuild(std::int64_t step) {
  const bool hopeful = step % kTryAgainSteps == 0;
  // From the largest down: a size with more rows that took less time proves that this one takes no longer.
  double least = 0;
  for (std::size_t i = points_.size(); i-- > 0;) {
    if (points_[i].samples == 0) continue;
    const double usual = hopeful && step - points_[i].step > kTryAgainSteps ? points_[i].least() : points_[i].usual();
    least = sizes_[i] == largest_ ? usual : std::min(least, usual);
    expected_[i] = least;
  }
  std::size_t next = 0;  // nearest measured size above
  int rows = 0;          // nearest measured size below
  double seconds = 0;
  for (std::size_t i = 0; i < points_.size() && sizes_[i] <= largest_; ++i) {
    if (points_[i].samples == 0) {
      while (next < i || points_[next].samples == 0) ++next;
      const double part = static_cast<double>(sizes_[i] - rows) / (sizes_[next] - rows);
      expected_[i] = seconds + part * (expected_[next] - seconds);
    } else {
      rows = sizes_[i];
      seconds = expected_[i];
    }
  }
  const double average = seconds / largest_;
  const int half = largest_ / 2;
  const double slope = half > 0 ? (seconds - at(half)) / (largest_ - half) : average;
  slope_ = std::clamp(slope, kSlopeMin * average, average);
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    if (sizes_[i] > largest_) expected_[i] = seconds + slope_ * (sizes_[i] - largest_);
  }
}

int StepCurve::largest_since(std::int64_t step) const {
  for (std::size_t i = points_.size(); i-- > 0;) {
    if (points_[i].samples > 0 && points_[i].step >= step) return sizes_[i];
  }
  return 0;
}

double StepCurve::at(int rows) const {
  if (empty() || rows <= 0) return 0;
  const auto above = std::lower_bound(sizes_.begin(), sizes_.end(), rows);
  if (above == sizes_.end()) return expected_.back() + slope_ * (rows - sizes_.back());
  const auto index = static_cast<std::size_t>(above - sizes_.begin());
  if (*above == rows) return expected_[index];
  const int below = sizes_[index - 1];
  const double part = static_cast<double>(rows - below) / (*above - below);
  return expected_[index - 1] + part * (expected_[index] - expected_[index - 1]);
}

double StepCurve::at_most(int rows) const {
  if (rows <= largest_) return at(rows);
  return rows / largest_ * at(largest_) + at(rows % largest_);
}

}  // namespace drover
