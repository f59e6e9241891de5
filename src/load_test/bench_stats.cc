#include "load_test/bench_stats.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace drover::cli {
namespace {

// Below 256 every value has a bucket of its own; above, each power of two has 128.
constexpr std::uint64_t kExact = 256;
constexpr std::size_t kPerPower = 128;
constexpr std::size_t kBuckets = kExact + kPerPower * (64 - 8);

std::size_t bucket_of(std::uint64_t value) {
  if (value < kExact) return value;
  const int shift = std::bit_width(value) - 8;
  return kExact + static_cast<std::size_t>(shift - 1) * kPerPower + (value >> shift) - kPerPower;
}

// The middle of what a bucket holds.
std::uint64_t value_of(std::size_t bucket) {
  if (bucket < kExact) return bucket;
  const std::size_t shift = (bucket - kExact) / kPerPower + 1;
  const std::uint64_t lead = (bucket - kExact) % kPerPower + kPerPower;
  return (lead << shift) + (std::uint64_t{1} << (shift - 1));
}

}  // namespace

void LatencyHistogram::add(Nanoseconds value) {
  if (buckets_.empty()) buckets_.resize(kBuckets);
  const std::uint64_t count = value.count() < 0 ? 0 : static_cast<std::uint64_t>(value.count());
  ++buckets_[bucket_of(count)];
  ++count_;
  largest_ = std::max(largest_, count);
  sum_ += static_cast<double>(count);
}

void LatencyHistogram::merge(const LatencyHistogram& other) {
  if (other.count_ == 0) return;
  if (buckets_.empty()) buckets_.resize(kBuckets);
  for (std::size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  largest_ = std::max(largest_, other.largest_);
  sum_ += other.sum_;
}

Nanoseconds LatencyHistogram::percentile(double percent) const {
  if (count_ == 0) return Nanoseconds(0);
  const double rank = std::ceil(std::clamp(percent, 0.0, 100.0) / 100 * static_cast<double>(count_));
  const std::uint64_t wanted = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(rank));
  if (wanted >= count_) return largest();
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += buckets_[i];
    if (seen >= wanted) return Nanoseconds(static_cast<std::int64_t>(std::min(value_of(i), largest_)));
  }
  return largest();
}

Nanoseconds LatencyHistogram::mean() const {
  if (count_ == 0) return Nanoseconds(0);
  return Nanoseconds(static_cast<std::int64_t>(sum_ / static_cast<double>(count_)));
}

void LevelStats::add(const RequestOutcome& outcome) {
  if (!outcome.error.empty()) {
    ++failed_;
    ErrorCount& error = errors_[outcome.error];
    if (error.count++ == 0) error.example = outcome.error_text;
    return;
  }
  ++succeeded_;
  total_.add(outcome.end - outcome.intended);
  if (outcome.first_piece) first_token_.add(*outcome.first_piece - outcome.intended);
  if (outcome.queue_wait) queue_wait_.add(*outcome.queue_wait);
  if (!outcome.queue_wait_is_told) queue_wait_is_told_ = false;
  if (!outcome.tokens) tokens_are_exact_ = false;
  const std::uint64_t tokens = outcome.tokens.value_or(outcome.pieces);
  output_tokens_ += tokens;
  prompt_tokens_ += outcome.prompt_tokens.value_or(0);
  const bool ended_in_window = !window_ || outcome.end <= *window_;
  if (ended_in_window) ++ended_in_window_;
  // An answer that goes on behind the window counts by the part of it that came before: without that, levels whose
  // answers take nearly as long as the window would seem to serve hardly any requests.
  double part = ended_in_window ? 1 : 0;
  if (!ended_in_window && outcome.pieces > 0)
    part = static_cast<double>(outcome.pieces_in_window) / static_cast<double>(outcome.pieces);
  requests_in_window_ += part;
  tokens_in_window_ += static_cast<double>(tokens) * part;
}

void LevelStats::finish(Nanoseconds elapsed) {
  // A window in which not one request ended says nothing about requests a second; then all of the time counts.
  if (window_ && ended_in_window_ > 0) {
    measured_requests_ = requests_in_window_;
    measured_tokens_ = tokens_in_window_;
    measured_seconds_ = to_seconds(std::min(*window_, elapsed));
  } else {
    measured_requests_ = static_cast<double>(succeeded_);
    measured_tokens_ = static_cast<double>(output_tokens_);
    measured_seconds_ = to_seconds(elapsed);
  }
}

void LevelStats::merge(const LevelStats& other) {
  succeeded_ += other.succeeded_;
  failed_ += other.failed_;
  output_tokens_ += other.output_tokens_;
  prompt_tokens_ += other.prompt_tokens_;
  measured_requests_ += other.measured_requests_;
  measured_tokens_ += other.measured_tokens_;
  measured_seconds_ += other.measured_seconds_;
  tokens_are_exact_ = tokens_are_exact_ && other.tokens_are_exact_;
  queue_wait_is_told_ = queue_wait_is_told_ && other.queue_wait_is_told_;
  for (const auto& [kind, error] : other.errors_) {
    ErrorCount& own = errors_[kind];
    if (own.count == 0) own.example = error.example;
    own.count += error.count;
  }
  first_token_.merge(other.first_token_);
  between_.merge(other.between_);
  total_.merge(other.total_);
  queue_wait_.merge(other.queue_wait_);
}

double LevelStats::requests_per_second() const {
  return measured_seconds_ > 0 ? measured_requests_ / measured_seconds_ : 0;
}

double LevelStats::tokens_per_second() const {
  return measured_seconds_ > 0 ? measured_tokens_ / measured_seconds_ : 0;
}

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

}  // namespace drover::cli
