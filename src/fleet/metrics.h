// What has happened so far, in figures that only grow; /metrics shows them. Pure; the I/O thread owns it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/histogram.h"
#include "fleet/request_record.h"
#include "policy/events.h"

namespace drover {

inline constexpr double kWaitBounds[] = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                         2.5,   5,     10,   30,    60,   120, 300,  600};
inline constexpr double kLoadBounds[] = {0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300};
inline constexpr double kGapBounds[] = {0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075,
                                        0.1,   0.15,   0.25,  0.5,  1,    2.5,  5};
inline constexpr double kTotalBounds[] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,   2.5, 5,
                                          10,   20,    30,   60,  120,  300, 600, 1800};
inline constexpr double kTokenBounds[] = {1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 131072};

// By StopReason.
inline constexpr std::array kStopReasonNames = {"idle",         "evicted",   "asked", "hung",
                                                "load_stalled", "abandoned", "grown", "shutdown"};

// Of the requests that named one model, and of its runners.
struct ModelMetrics {
  Histogram queue_wait{kWaitBounds};   // seconds until the slot, less what the load took
  Histogram load{kLoadBounds};         // seconds; of the model, not of each request
  Histogram first_token{kWaitBounds};  // seconds from the arrival
  Histogram inter_token{kGapBounds};   // seconds between two pieces of one answer, as they reach the front
  Histogram total{kTotalBounds};       // seconds from the arrival to the end, of those that had a slot
  Histogram prompt_tokens{kTokenBounds};
  Histogram output_tokens{kTokenBounds};
  std::array<std::uint64_t, kOutcomeNames.size()> outcomes{};
  std::array<std::uint64_t, kStopReasonNames.size()> unloads{};
  std::uint64_t load_failures = 0;
  std::uint64_t crashes = 0;   // runners that ended by themselves
  std::uint64_t restarts = 0;  // runners started because the one before them crashed or hung
  std::uint64_t cached_tokens = 0;
  std::uint64_t generated_tokens = 0;  // in answers that run too: a token for each piece until the end tells how many
  std::uint64_t preempted = 0;

  // The events of a request, in their order; `record` says what is known by then.
  void on_dispatched(const RequestRecord& record);
  void on_output(RequestRecord& record, TimePoint now);  // a piece of its answer has come; notes it in the record
  void on_ended(const RequestRecord& record);
};

// All models' figures, by name. Names come from the model store; even so, those beyond kModelsMax share one entry.
class Metrics {
 public:
  static constexpr std::size_t kModelsMax = 100;
  static constexpr std::string_view kOther = "other";

  // Stays where it is for as long as this lives. An empty name is that of requests that named no model there is.
  ModelMetrics& of(const std::string& model);
  // Under what name a model's figures stand.
  std::string_view label_of(const std::string& model) const;
  const std::map<std::string, ModelMetrics, std::less<>>& models() const { return models_; }

 private:
  std::map<std::string, ModelMetrics, std::less<>> models_;
};

}  // namespace drover
