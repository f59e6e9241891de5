// What the driver looks at: every few seconds for the history and for advice, and when it is time at who may hang.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "fleet/fleet_impl.h"

namespace drover {

// Until the server ends.
void DispatchDriver::observe() {
  const std::vector<LoadedModelView> models = loaded();
  HistoryReading reading;
  reading.at = boot_time();
  for (const LoadedModelView& view : models) {
    reading.waiting += view.state.waiting;
    reading.kv_cells += view.kv.cells;
    reading.kv_used += view.kv.used;
    reading.kv_kept += view.kv.kept;
    if (view.embedding) continue;
    reading.running += static_cast<std::uint64_t>(view.state.running);
    reading.places += static_cast<std::uint64_t>(view.state.places);
  }
  for (const auto& [name, metrics] : metrics_.models()) {
    reading.tokens += metrics.generated_tokens;
    reading.first_token.add(metrics.first_token);
    reading.inter_token.add(metrics.inter_token);
  }
  history_.add(reading);
  advise_on(models);
  observe_timer_.expires_after(kHistoryInterval);
  observe_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) observe();
  });
}

void DispatchDriver::advise_on(std::span<const LoadedModelView> views) {
  const std::optional<ProcessorTimes> times = read_processor_times();
  const auto busy = times && processors_ ? busy_share(*processors_, *times) : std::nullopt;
  processors_ = times;
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
    // One that comes or leaves gives no places away, however many it has.
    model.places = state == ModelState::kLoaded ? static_cast<std::uint64_t>(view.state.places) : 0;
    model.more_bytes = memory_for_more(view);
  }
  input.models = models;
  input.idle_share = 1 - busy.value_or(1);
  input.parallel = static_cast<std::uint64_t>(std::max(settings_.parallel, 0));
  input.runners_max = static_cast<std::uint64_t>(loaded_models_max(settings_));
  if (memory_bytes_max_ > 0) input.room_bytes = memory_bytes_max_ - std::min(held, memory_bytes_max_);
  if (advisor_.update(advise(input), Clock::now())) spdlog::info("{}", advisor_.shown()->text);
}

// For the model if it is not loaded; else for one place more: the second one brings a second context's worth of cells,
// and all others share those two.
std::uint64_t DispatchDriver::memory_for_more(const LoadedModelView& view) const {
  const auto found = models_.find(view.key);
  if (found == models_.end() || !found->second->target.estimate) return 0;
  const auto& estimate = found->second->target.estimate;
  const int context = view.state.context_length > 0 ? view.state.context_length : context_default(settings_);
  if (view.state.state == ModelState::kUnloaded) return estimate(context);
  if (view.state.places > 1) return 0;
  const std::uint64_t one = estimate(context);
  const std::uint64_t two = estimate(2 * std::min(context, 1 << 29));
  return two - std::min(one, two);
}

void DispatchDriver::tick() {
  const TimePoint now = Clock::now();
  // A thread that hangs has been at the same request for about as long as nothing was heard of its runner.
  for (const auto& [id, runner] : runners_) {
    if (runner->loaded == TimePoint{} || runner->stopping) continue;
    const RequestId stuck_at = runner->process->stuck_at(now - settings_.hang_timeout / 2);
    dispatcher_.blame(id, {.request = stuck_at, .from_outside = runner->process->is_stopped()});
  }
  dispatcher_.tick(now);
  act();
}

}  // namespace drover
