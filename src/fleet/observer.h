// What the fleet notes every few seconds: figures for the history, and advice. I/O thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "base/machine.h"
#include "fleet/history.h"
#include "fleet/metrics.h"
#include "fleet/views.h"
#include "policy/advice.h"

namespace drover {

class Observer {
 public:
  struct Bounds {
    std::uint64_t parallel = 1;          // OLLAMA_NUM_PARALLEL; 0: auto
    std::uint64_t runners_max = 1;       // OLLAMA_MAX_LOADED_MODELS
    std::uint64_t memory_bytes_max = 0;  // over all runners; 0: none
  };

  // Once in kHistoryInterval. `more_bytes`: memory that one more slot of a model would take, or the model itself if it
  // is not loaded.
  void observe(std::span<const LoadedModelView> views, const Metrics& metrics, const Bounds& bounds,
               const std::function<std::uint64_t(const LoadedModelView&)>& more_bytes);

  const History& history() const { return history_; }
  const std::optional<Advice>& advice() const { return advisor_.shown(); }

 private:
  void note(std::span<const LoadedModelView> views, const Metrics& metrics);
  double idle_share();

  History history_;
  Advisor advisor_;
  std::optional<ProcessorTimes> processors_;  // as they were at the last look
};

}  // namespace drover
