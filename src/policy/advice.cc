#include "policy/advice.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

namespace drover {
namespace {

constexpr auto kLogInterval = std::chrono::minutes(10);
constexpr double kIdleMin = 0.1;  // less is what a busy machine shows between two requests

std::string text_of(const std::string& wish, const AdviceModel& model, double idle_share) {
  const std::string requests = model.waiting == 1 ? "1 request waits" : fmt::format("{} requests wait", model.waiting);
  return fmt::format("a larger {} would help: {} for {} while {:.0f} % of the processors are idle", wish, requests,
                     model.name, idle_share * 100);
}

// It has all the slots that the setting allows, and all of them are taken.
bool is_held_by_slots(const AdviceModel& model, std::uint64_t parallel) {
  return model.loaded && model.generates && parallel > 0 && model.slots >= parallel && model.running >= model.slots;
}

bool is_held_by_models(const AdviceModel& model, const AdviceInput& input) {
  return !model.loaded && input.runners >= input.runners_max;
}

}  // namespace

std::optional<Advice> advise(const AdviceInput& input) {
  std::uint64_t running = 0;
  for (const AdviceModel& model : input.models) running += model.running;
  // What nothing runs for yet waits for a load.
  if (running == 0) return std::nullopt;
  const double worth = (1 - input.idle_share) / static_cast<double>(running);
  if (input.idle_share < kIdleMin || input.idle_share < worth) return std::nullopt;
  for (const AdviceModel& model : input.models) {
    if (model.waiting == 0 || (input.room_bytes && model.more_bytes > *input.room_bytes)) continue;
    if (is_held_by_slots(model, input.parallel)) {
      const std::string wish = fmt::format("OLLAMA_NUM_PARALLEL than {} (or auto)", input.parallel);
      return Advice{"OLLAMA_NUM_PARALLEL", text_of(wish, model, input.idle_share)};
    }
    if (is_held_by_models(model, input)) {
      const std::string wish = fmt::format("OLLAMA_MAX_LOADED_MODELS than {}", input.runners_max);
      return Advice{"OLLAMA_MAX_LOADED_MODELS",
                    text_of(wish, model, input.idle_share) + ", and there is memory for it"};
    }
  }
  return std::nullopt;
}

bool Advisor::update(std::optional<Advice> advice, TimePoint now) {
  const bool holds = advice && last_ && advice->setting == last_->setting;
  last_ = std::move(advice);
  shown_ = holds ? last_ : std::nullopt;
  if (!shown_ || (logged_ && now - *logged_ < kLogInterval)) return false;
  logged_ = now;
  return true;
}

}  // namespace drover
