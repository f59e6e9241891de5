#include "fleet/observer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <vector>

namespace drover {

void Observer::observe(std::span<const LoadedModelView> views, const Metrics& metrics, const Bounds& bounds,
                       const std::function<std::uint64_t(const LoadedModelView&)>& more_bytes) {
  note(views, metrics);
  std::vector<AdviceModel> models;
  AdviceInput input;
  std::uint64_t held = 0;
  for (const LoadedModelView& view : views) {
    const ModelState state = view.state.state;
    if (state == ModelState::kBackoff) continue;
    const bool absent = state == ModelState::kUnloaded;
    if (!absent) {
      ++input.runners;
      held += view.memory_bytes > 0 ? view.memory_bytes : view.state.memory_bytes;
    }
    AdviceModel& model = models.emplace_back();
    model.name = view.name;
    model.loaded = !absent;
    model.generates = !view.embedding;
    model.running = static_cast<std::uint64_t>(view.state.running);
    model.waiting = view.state.waiting;
    // One that comes or leaves gives no slots away, however many it has.
    model.slots = state == ModelState::kLoaded ? static_cast<std::uint64_t>(view.state.slots) : 0;
    model.more_bytes = more_bytes(view);
  }
  input.models = models;
  input.idle_share = idle_share();
  input.parallel = bounds.parallel;
  input.runners_max = bounds.runners_max;
  if (bounds.memory_bytes_max > 0) {
    input.room_bytes = bounds.memory_bytes_max - std::min(held, bounds.memory_bytes_max);
  }
  if (advisor_.update(advise(input), Clock::now())) spdlog::info("{}", advisor_.shown()->text);
}

void Observer::note(std::span<const LoadedModelView> views, const Metrics& metrics) {
  HistoryReading reading;
  reading.at = boot_time();
  for (const LoadedModelView& view : views) {
    reading.waiting += view.state.waiting;
    reading.kv_cells += view.kv.cells;
    reading.kv_used += view.kv.used;
    reading.kv_kept += view.kv.kept;
    if (view.embedding) continue;
    reading.running += static_cast<std::uint64_t>(view.state.running);
    reading.slots += static_cast<std::uint64_t>(view.state.slots);
  }
  for (const auto& [name, model] : metrics.models()) {
    reading.tokens += model.generated_tokens;
    reading.first_token.add(model.first_token);
    reading.inter_token.add(model.inter_token);
  }
  history_.add(reading);
}

// Of all processors, since the last look; none where that is not known.
double Observer::idle_share() {
  const std::optional<ProcessorTimes> times = read_processor_times();
  const auto busy = times && processors_ ? busy_share(*processors_, *times) : std::nullopt;
  processors_ = times;
  return 1 - busy.value_or(1);
}

}  // namespace drover
