#include "top/top_state.h"

#include <algorithm>
#include <charconv>
#include <set>

namespace drover::cli {
namespace {

std::optional<double> optional_number(const Json& object, std::string_view name) {
  const Json* field = find_field(object, name);
  if (field == nullptr || !field->is_number()) return std::nullopt;
  return field->get<double>();
}

// Servers of 0.1 say `parallel`.
std::optional<std::uint64_t> slots_of(const Json& object) {
  const auto slots = optional_count(object, "slots");
  return slots ? slots : optional_count(object, "parallel");
}

// What the model does, with slots for each; the fields beside are those of the first.
void read_tasks(const Json& tasks, TopModel& model) {
  model.generates = false;
  model.running = model.waiting = model.slots = std::nullopt;
  for (const Json& task : tasks) {
    const bool embeds = text_field(task, "task") == "embedding";
    if (!embeds && text_field(task, "task") != "completion") continue;
    const auto waiting = optional_count(task, "waiting");
    if (waiting) model.waiting = model.waiting.value_or(0) + *waiting;
    (embeds ? model.embed_running : model.running) = optional_count(task, "running");
    (embeds ? model.embed_slots : model.slots) = slots_of(task);
    model.generates = model.generates || !embeds;
  }
}

TopModel read_model(const Json& object) {
  TopModel model;
  model.name = text_field(object, "name");
  if (model.name.empty()) model.name = text_field(object, "model");
  model.state = text_field(object, "state");
  model.running = optional_count(object, "running");
  model.waiting = optional_count(object, "waiting");
  model.slots = slots_of(object);
  if (const Json& tasks = array_field(object, "tasks"); !tasks.empty()) read_tasks(tasks, model);
  model.load_fraction = optional_number(object, "load_progress");
  model.memory = count_field(object, "size");
  model.device_memory = count_field(object, "size_vram");
  model.expires = parse_timestamp(text_field(object, "expires_at"));
  const Json& cells = object_field(object, "kv");
  if (const std::uint64_t all = count_field(cells, "cells"); all > 0) {
    model.cells_used = static_cast<double>(count_field(cells, "used")) / static_cast<double>(all);
  }
  return model;
}

// A field in milliseconds, whose name ends in _ms, or one in nanoseconds, as Ollama's durations are.
std::optional<std::chrono::nanoseconds> duration_of(const Json& object, const std::string& name) {
  constexpr std::uint64_t kMillisecondsMax = std::uint64_t{1} << 43;  // as many as nanoseconds can hold
  if (const auto milliseconds = optional_count(object, name + "_ms")) {
    return std::chrono::milliseconds(std::min(*milliseconds, kMillisecondsMax));
  }
  const auto nanoseconds = optional_count(object, name);
  if (!nanoseconds) return std::nullopt;
  return std::chrono::nanoseconds(std::min<std::uint64_t>(*nanoseconds, std::chrono::nanoseconds::max().count()));
}

TopRequest read_request(const Json& object) {
  TopRequest request;
  request.id = text_field(object, "id");
  request.model = text_field(object, "model");
  request.client = text_field(object, "client");
  request.phase = text_field(object, "phase");
  request.priority = text_field(object, "priority");
  request.position = optional_count(object, "position");
  if (request.position == 0u) request.position.reset();  // It runs.
  request.age = duration_of(object, "age").value_or(std::chrono::nanoseconds(0));
  if (request.position) request.estimated_wait = duration_of(object, "estimated_wait");
  request.prompt_tokens = count_field(object, "prompt_tokens");
  request.output_tokens = count_field(object, "output_tokens");
  return request;
}

// The value of one label in `labels`, the text between the braces of a sample.
std::string label_value(std::string_view labels, std::string_view name) {
  const std::string wanted = std::string(name) + "=\"";
  std::size_t at = labels.find(wanted);
  while (at != std::string_view::npos && at > 0 && labels[at - 1] != ',' && labels[at - 1] != ' ') {
    at = labels.find(wanted, at + 1);
  }
  if (at == std::string_view::npos) return "";
  std::string value;
  for (std::size_t i = at + wanted.size(); i < labels.size() && labels[i] != '"'; ++i) {
    if (labels[i] == '\\' && i + 1 < labels.size()) ++i;
    value += labels[i];
  }
  return value;
}

}  // namespace

std::vector<TopModel> read_models(const Json& ps) {
  std::vector<TopModel> models;
  for (const Json& object : array_field(ps, "models")) {
    if (models.size() == kTopRowsMax) break;
    if (object.is_object()) models.push_back(read_model(object));
  }
  return models;
}

std::vector<TopRequest> read_requests(const Json& queue, std::uint64_t& left_out) {
  std::vector<TopRequest> requests;
  const Json& all = array_field(queue, "requests");
  for (const Json& object : all) {
    if (requests.size() == kTopRowsMax) break;
    if (object.is_object()) requests.push_back(read_request(object));
  }
  const std::uint64_t said = count_field(queue, "running") + count_field(queue, "waiting");
  left_out = std::max<std::uint64_t>(said, all.size()) - requests.size();
  const auto place = [](const TopRequest& request) { return request.position.value_or(0); };
  std::stable_sort(requests.begin(), requests.end(),
                   [&](const TopRequest& a, const TopRequest& b) { return place(a) < place(b); });
  return requests;
}

void show_rates(std::vector<TopModel>& models, const std::map<std::string, double>& rates) {
  std::set<std::string_view> shown;
  for (TopModel& model : models) {
    const auto rate = rates.find(model.name);
    if (rate != rates.end() && model.generates && shown.insert(model.name).second) {
      model.tokens_per_second = rate->second;
    }
  }
}

std::map<std::string, double> read_counter(std::string_view metrics, std::string_view name) {
  std::map<std::string, double> values;
  while (!metrics.empty()) {
    const std::size_t end = std::min(metrics.find('\n'), metrics.size());
    std::string_view line = metrics.substr(0, end);
    metrics.remove_prefix(std::min(end + 1, metrics.size()));
    if (!line.starts_with(name)) continue;
    line.remove_prefix(name.size());
    std::string_view labels;
    if (line.starts_with('{')) {
      const std::size_t close = line.rfind('}');
      if (close == std::string_view::npos) continue;
      labels = line.substr(1, close - 1);
      line.remove_prefix(close + 1);
    }
    if (!line.starts_with(' ')) continue;  // another name that begins like this one
    line.remove_prefix(1);
    double value = 0;
    if (std::from_chars(line.data(), line.data() + line.size(), value).ec != std::errc()) continue;
    values[label_value(labels, "model")] += value;
    if (values.size() == kTopRowsMax) break;
  }
  return values;
}

std::map<std::string, double> RateMeter::update(std::map<std::string, double> values, TimePoint now) {
  std::map<std::string, double> rates;
  if (last_time_ && now > *last_time_) {
    const double seconds = to_seconds(now - *last_time_);
    for (const auto& [name, value] : values) {
      const auto before = last_.find(name);
      // One that was not there before has counted from nothing.
      const double added = value - (before == last_.end() ? 0 : before->second);
      rates[name] = added > 0 ? added / seconds : 0;
    }
  }
  last_ = std::move(values);
  last_time_ = now;
  return rates;
}

}  // namespace drover::cli
