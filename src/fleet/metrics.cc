#include "fleet/metrics.h"

#include <algorithm>

namespace drover {

void ModelMetrics::on_dispatched(const RequestRecord& record) {
  queue_wait.observe(std::max(record.dispatched - record.arrived - record.load, Duration::zero()));
}

void ModelMetrics::on_output(RequestRecord& record, TimePoint now) {
  if (record.first_output == TimePoint{}) {
    record.first_output = now;
    first_token.observe(now - record.arrived);
  } else {
    inter_token.observe(now - record.last_output);
  }
  record.last_output = now;
  ++record.output_tokens;
  ++record.tokens_noted;
  ++generated_tokens;
}

void ModelMetrics::on_ended(const RequestRecord& record) {
  ++outcomes[static_cast<std::size_t>(record.outcome)];
  cached_tokens += record.cached_tokens;
  preempted += record.preempted;
  // A piece may have held more than one token.
  if (record.output_tokens > record.tokens_noted) generated_tokens += record.output_tokens - record.tokens_noted;
  if (record.dispatched == TimePoint{}) return;
  total.observe(record.ended - record.arrived);
  prompt_tokens.observe(static_cast<double>(record.prompt_tokens));
  output_tokens.observe(static_cast<double>(record.output_tokens));
}

ModelMetrics& Metrics::of(const std::string& model) {
  const auto found = models_.find(model);
  if (found != models_.end()) return found->second;
  if (model.empty()) return models_[std::string(kOther)];
  // One entry is left for all that come later.
  return models_.size() < kModelsMax - 1 ? models_[model] : models_[std::string(kOther)];
}

std::string_view Metrics::label_of(const std::string& model) const {
  const auto found = models_.find(model);
  return found != models_.end() ? std::string_view(found->first) : kOther;
}

}  // namespace drover
