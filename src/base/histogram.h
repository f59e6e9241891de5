// Counts of values below fixed bounds, and their sum. Pure; observing takes no memory and some nanoseconds.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "base/check.h"
#include "base/clock.h"

namespace drover {

class Histogram {
 public:
  static constexpr std::size_t kBoundsMax = 20;

  // `bounds` ascend and outlive the histogram. A value belongs to the first bound that it does not exceed; those above
  // all of them are counted apart.
  explicit Histogram(std::span<const double> bounds) : bounds_(bounds) { DROVER_CHECK(bounds.size() <= kBoundsMax); }

  void observe(double value) {
    const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), value);
    ++counts_[static_cast<std::size_t>(bound - bounds_.begin())];
    sum_ += value;
    ++count_;
  }
  // In seconds.
  void observe(Duration value) { observe(to_seconds(value)); }

  // Adds what another one with the same bounds has counted.
  void add(const Histogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    sum_ += other.sum_;
    count_ += other.count_;
  }

  std::span<const double> bounds() const { return bounds_; }
  // Number of values in the bucket of this bound; index bounds().size() is the overflow bucket.
  std::uint64_t count_at(std::size_t bound) const { return counts_[bound]; }
  std::uint64_t count() const { return count_; }
  double sum() const { return sum_; }

 private:
  std::span<const double> bounds_;
  std::array<std::uint64_t, kBoundsMax + 1> counts_{};
  std::uint64_t count_ = 0;
  double sum_ = 0;
};

// A quantile of what was observed between two states of a histogram; nullopt if nothing was. Within a bound the values
// are taken to lie evenly; those above all bounds are taken for the last one.
inline std::optional<double> quantile(const Histogram& earlier, const Histogram& later, double share) {
  const std::uint64_t total = later.count() - earlier.count();
  if (later.count() <= earlier.count()) return std::nullopt;
  const double wanted = share * static_cast<double>(total);
  double below = 0;
  double lower = 0;
  for (std::size_t i = 0; i < later.bounds().size(); ++i) {
    const double here = static_cast<double>(later.count_at(i) - earlier.count_at(i));
    const double bound = later.bounds()[i];
    if (here > 0 && below + here >= wanted) return lower + (bound - lower) * (wanted - below) / here;
    below += here;
    lower = bound;
  }
  return lower;
}

}  // namespace drover
