#include "fleet/history.h"

namespace drover {
namespace {

// Latencies are those of so many intervals: of one alone there may be few.
constexpr std::size_t kLatencyIntervals = 2;

std::optional<HistorySample::Latency> latency(const Histogram& earlier, const Histogram& later) {
  const auto median = quantile(earlier, later, 0.5);
  const auto p95 = quantile(earlier, later, 0.95);
  if (!median || !p95) return std::nullopt;
  return HistorySample::Latency{*median, *p95};
}

}  // namespace

void History::add(const HistoryReading& reading) {
  HistorySample sample;
  sample.at = reading.at;
  sample.waiting = reading.waiting;
  sample.running = reading.running;
  sample.slots = reading.slots;
  if (!readings_.empty() && reading.at > readings_.back().at) {
    const HistoryReading& before = readings_.back();
    const double seconds = std::chrono::duration<double>(reading.at - before.at).count();
    sample.tokens_per_second = static_cast<double>(reading.tokens - before.tokens) / seconds;
    sample.first_token = latency(readings_.front().first_token, reading.first_token);
    sample.inter_token = latency(readings_.front().inter_token, reading.inter_token);
  }
  if (reading.kv_cells > 0) {
    const auto cells = static_cast<double>(reading.kv_cells);
    sample.kv = {static_cast<double>(reading.kv_used) / cells, static_cast<double>(reading.kv_kept) / cells};
  }
  samples_.push_back(sample);
  if (samples_.size() > kHistorySamplesMax) samples_.pop_front();
  readings_.push_back(reading);
  if (readings_.size() > kLatencyIntervals) readings_.pop_front();
}

}  // namespace drover
