// The server's figures in Prometheus' text format (0.0.4). Pure. docs/operations.md lists the metrics.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/settings.h"
#include "fleet/metrics.h"
#include "fleet/views.h"

namespace drover::api {

// Everything that is shown, taken at one moment.
struct MetricsView {
  const Metrics& metrics;
  const std::vector<LoadedModelView>& models;
  std::string_view version;
  std::size_t queue_max = 0;
  std::uint64_t memory_bytes_max = 0;  // 0: none
  std::uint64_t resident_bytes = 0;    // of the server itself
  double started_at = 0;               // seconds since the epoch
};

std::string metrics_text(const MetricsView& view);

}  // namespace drover::api
