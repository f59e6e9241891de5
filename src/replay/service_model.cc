#include "replay/service_model.h"

#include <algorithm>
#include <vector>

namespace drover {
namespace {

constexpr std::uint32_t kTokensMin = 4;    // of an answer that says how long a token takes
constexpr std::size_t kAnswersMin = 20;    // that say how long a step takes
constexpr double kRunningSpreadMin = 0.5;  // between the answers with fewest and with most neighbors
constexpr Duration kCancelLag = std::chrono::milliseconds(50);  // where the record has none

struct Total {
  double seconds = 0;
  double running = 0;  // on average
};

Total total(std::span<const Stay> stays) {
  Total total;
  for (const Stay& stay : stays) {
    total.seconds += stay.seconds;
    total.running += stay.seconds * stay.running;
  }
  if (total.seconds > 0) total.running /= total.seconds;
  return total;
}

// One answer: how long its tokens took, and how many ran meanwhile.
struct Answer {
  double running = 1;
  double step = 0;
  double tokens = 0;
};

std::vector<Answer> answers_of(const Day& day, ModelId model) {
  std::vector<Answer> answers;
  for (const auto& [request, service] : day.services) {
    if (service.model != model || !service.finished || service.output_tokens < kTokensMin) continue;
    const Total output = total(service.output);
    if (output.seconds <= 0) continue;
    const double tokens = service.output_tokens - 1.0;  // the first one was not waited for
    answers.push_back({output.running, output.seconds / tokens, tokens});
  }
  return answers;
}

void fit_steps(ServiceModel& model, const std::vector<Answer>& answers) {
  if (answers.size() < kAnswersMin) return;
  const auto [least, most] = std::minmax_element(
      answers.begin(), answers.end(), [](const Answer& a, const Answer& b) { return a.running < b.running; });
  if (most->running - least->running < kRunningSpreadMin) return;
  double weight = 0;
  double running = 0;
  double step = 0;
  for (const Answer& answer : answers) {
    weight += answer.tokens;
    running += answer.tokens * answer.running;
    step += answer.tokens * answer.step;
  }
  running /= weight;
  step /= weight;
  double both = 0;
  double squares = 0;
  for (const Answer& answer : answers) {
    both += answer.tokens * (answer.running - running) * (answer.step - step);
    squares += answer.tokens * (answer.running - running) * (answer.running - running);
  }
  if (squares <= 0) return;
  // More that run make no step shorter, and none is free.
  model.beside = std::clamp(both / squares, 0.0, step / running);
  model.alone = step - model.beside * (running - 1);
  model.knows_steps = model.alone > 0;
}

Duration mean(const std::vector<Duration>& durations, Duration otherwise) {
  if (durations.empty()) return otherwise;
  Duration sum{};
  for (const Duration duration : durations) sum += duration;
  return sum / static_cast<std::int64_t>(durations.size());
}

void sum_up(ServiceModel& model, const Day& day, ModelId id) {
  double work = 0;
  double ended = 0;
  double prompt_tokens = 0;
  double prompt_seconds = 0;
  std::vector<Duration> lags;
  for (const auto& [request, service] : day.services) {
    if (service.model != id) continue;
    for (const auto* stays : {&service.before_output, &service.output})
      for (const Stay& stay : *stays) model.running_max = std::max(model.running_max, stay.running);
    if (service.cancel_lag) lags.push_back(*service.cancel_lag);
    if (!service.finished) continue;
    work += model.work(service);
    ++ended;
    if (service.output.empty()) continue;
    prompt_tokens += service.prompt_tokens;
    for (const Stay& stay : service.before_output) prompt_seconds += stay.seconds / model.slowdown(stay.running);
  }
  if (ended > 0) model.work_mean = work / ended;
  if (prompt_seconds > 0) model.prompt_tokens_per_second = prompt_tokens / prompt_seconds;
  model.cancel_lag = mean(lags, kCancelLag);
}

}  // namespace

double ServiceModel::slowdown(int running) const {
  return knows_steps ? 1 + beside * std::max(running - 1, 0) / alone : 1;
}

double ServiceModel::work(const Service& service) const {
  double seconds = 0;
  for (const auto* stays : {&service.before_output, &service.output})
    for (const Stay& stay : *stays) seconds += stay.seconds / slowdown(stay.running);
  return seconds;
}

std::map<ModelId, ServiceModel> learn(const Day& day) {
  std::map<ModelId, ServiceModel> models;
  for (const auto& [id, recorded] : day.models) {
    ServiceModel& model = models[id];
    fit_steps(model, answers_of(day, id));
    sum_up(model, day, id);
    std::vector<Duration> loads;
    for (const auto& [took, loaded] : recorded.loads) loads.push_back(took);
    model.load_mean = mean(loads, Duration::zero());
    model.stop_mean = mean(recorded.stops, std::chrono::milliseconds(100));
  }
  return models;
}

}  // namespace drover
