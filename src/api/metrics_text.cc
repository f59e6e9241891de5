#include "api/metrics_text.h"

#include <fmt/format.h>

#include <functional>
#include <iterator>
#include <map>

namespace drover::api {
namespace {

// Text per sample, about; what is reserved for the answer.
constexpr std::size_t kBytesPerModel = 24 << 10;

// What a model's runners show at this moment, those of one label together: a name may stand for a model and for the one
// that it replaces.
struct Gauges {
  std::uint64_t waiting = 0;
  std::uint64_t running = 0;
  std::uint64_t slots = 0;
  std::uint64_t embedding_running = 0;
  std::uint64_t embedding_slots = 0;
  std::uint64_t loaded = 0;
  std::uint64_t kv_cells = 0;
  std::uint64_t kv_used = 0;
  std::uint64_t kv_shared = 0;
  std::uint64_t kv_kept = 0;
  std::uint64_t preempted = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t device_bytes = 0;

  void add(const LoadedModelView& view) {
    waiting += view.state.waiting;
    running += static_cast<std::uint64_t>(view.state.running);
    // A runner for embeddings has many slots, and its requests are no generations: they would hide how full it is.
    slots += view.embedding ? 0 : static_cast<std::uint64_t>(view.state.slots);
    embedding_running += view.embedding ? static_cast<std::uint64_t>(view.state.running) : 0;
    embedding_slots += view.embedding ? static_cast<std::uint64_t>(view.state.slots) : 0;
    loaded += view.state.state == ModelState::kLoaded || view.state.state == ModelState::kDraining ? 1 : 0;
    kv_cells += view.kv.cells;
    kv_used += view.kv.used;
    kv_shared += view.kv.shared;
    kv_kept += view.kv.kept;
    preempted += view.preempted;
    memory_bytes += view.memory_bytes > 0 ? view.memory_bytes : view.state.memory_bytes;
    device_bytes += view.device_bytes;
  }
};

// A label's value between its quotes.
std::string escaped(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

class Writer {
 public:
  explicit Writer(const MetricsView& view) {
    for (const auto& [name, metrics] : view.metrics.models()) models_.push_back({escaped(name), &metrics, {}});
    std::map<std::string_view, Gauges> gauges;
    for (const LoadedModelView& model : view.models) gauges[view.metrics.label_of(model.name)].add(model);
    std::size_t at = 0;  // both are in order of names
    for (const auto& [name, metrics] : view.metrics.models()) {
      if (const auto found = gauges.find(name); found != gauges.end()) models_[at].gauges = found->second;
      ++at;
    }
    out_.reserve(kBytesPerModel * (models_.size() + 1));
  }

  void one(const char* name, const char* type, const char* help, double value, const std::string& labels = "") {
    family(name, type, help);
    print("{}{} {}\n", name, labels, value);
  }

  void histogram(const char* name, const char* help, Histogram ModelMetrics::*member) {
    family(name, "histogram", help);
    for (const Model& model : models_) {
      const Histogram& values = model.metrics->*member;
      if (values.count() == 0) continue;
      std::uint64_t count = 0;
      for (std::size_t i = 0; i < values.bounds().size(); ++i) {
        count += values.count_at(i);
        print("{}_bucket{{model=\"{}\",le=\"{}\"}} {}\n", name, model.label, values.bounds()[i], count);
      }
      print("{}_bucket{{model=\"{}\",le=\"+Inf\"}} {}\n", name, model.label, values.count());
      print("{}_sum{{model=\"{}\"}} {}\n", name, model.label, values.sum());
      print("{}_count{{model=\"{}\"}} {}\n", name, model.label, values.count());
    }
  }

  void counter(const char* name, const char* help, const std::function<std::uint64_t(const ModelMetrics&)>& value) {
    family(name, "counter", help);
    for (const Model& model : models_) print("{}{{model=\"{}\"}} {}\n", name, model.label, value(*model.metrics));
  }

  // One sample for each value that is not zero, `label` naming it.
  template <std::size_t N>
  void counters(const char* name, const char* help, const char* label, const std::array<const char*, N>& names,
                std::array<std::uint64_t, N> ModelMetrics::*member) {
    family(name, "counter", help);
    for (const Model& model : models_) {
      for (std::size_t i = 0; i < N; ++i) {
        const std::uint64_t value = (model.metrics->*member)[i];
        if (value > 0) print("{}{{model=\"{}\",{}=\"{}\"}} {}\n", name, model.label, label, names[i], value);
      }
    }
  }

  void gauge(const char* name, const char* help, std::uint64_t Gauges::*member) {
    family(name, "gauge", help);
    for (const Model& model : models_) print("{}{{model=\"{}\"}} {}\n", name, model.label, model.gauges.*member);
  }

  std::string take() { return std::move(out_); }

 private:
  struct Model {
    std::string label;
    const ModelMetrics* metrics;
    Gauges gauges;
  };

  template <typename... Values>
  void print(fmt::format_string<Values...> format, Values&&... values) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Values>(values)...);
  }

  void family(const char* name, const char* type, const char* help) {
    print("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }

  std::vector<Model> models_;
  std::string out_;
};

void write_requests(Writer& writer) {
  writer.counters("drover_requests_total", "Requests completed, by outcome.", "outcome", kOutcomeNames,
                  &ModelMetrics::outcomes);
  writer.gauge("drover_requests_waiting", "Requests that wait for a slot.", &Gauges::waiting);
  writer.gauge("drover_requests_running", "Requests that have a slot.", &Gauges::running);
  writer.gauge("drover_slots", "Generations that may run at the same time.", &Gauges::slots);
  // Names of 0.1, for one minor version more.
  writer.gauge("drover_places", "The same as drover_slots, under its earlier name.", &Gauges::slots);
  writer.gauge("drover_embedding_requests_running", "Running requests that are for embeddings.",
               &Gauges::embedding_running);
  writer.gauge("drover_embedding_slots", "Requests for embeddings that may run at the same time.",
               &Gauges::embedding_slots);
  writer.gauge("drover_embedding_places", "The same as drover_embedding_slots, under its earlier name.",
               &Gauges::embedding_slots);
  writer.histogram("drover_queue_wait_seconds", "From arrival to slot, without the load of the model.",
                   &ModelMetrics::queue_wait);
  writer.histogram("drover_time_to_first_token_seconds", "From arrival to the first output.",
                   &ModelMetrics::first_token);
  writer.histogram("drover_inter_token_seconds", "Between two pieces of one answer, as a rule one token each.",
                   &ModelMetrics::inter_token);
  writer.histogram("drover_request_seconds", "From arrival to the end, of requests that had a slot.",
                   &ModelMetrics::total);
  writer.histogram("drover_prompt_tokens", "Tokens of a request's prompt.", &ModelMetrics::prompt_tokens);
  writer.histogram("drover_output_tokens", "Tokens of a request's answer.", &ModelMetrics::output_tokens);
  writer.counter("drover_generated_tokens_total", "Output tokens so far, including running requests.",
                 [](const ModelMetrics& metrics) { return metrics.generated_tokens; });
  writer.counter("drover_cached_prompt_tokens_total", "Prompt tokens found in the prefix cache.",
                 [](const ModelMetrics& metrics) { return metrics.cached_tokens; });
}

void write_models(Writer& writer) {
  writer.gauge("drover_model_loaded", "1 while the model is in memory and serves requests.", &Gauges::loaded);
  writer.histogram("drover_load_seconds", "From the start of a runner until its model is in memory.",
                   &ModelMetrics::load);
  writer.counter("drover_loads_total", "Loads that succeeded.",
                 [](const ModelMetrics& metrics) { return metrics.load.count(); });
  writer.counter("drover_load_failures_total", "Loads that failed.",
                 [](const ModelMetrics& metrics) { return metrics.load_failures; });
  writer.counters("drover_unloads_total", "Runners stopped by the server, by reason.", "reason", kStopReasonNames,
                  &ModelMetrics::unloads);
  writer.counter(
      "drover_evictions_total", "Runners stopped to make room for another model.",
      [](const ModelMetrics& metrics) { return metrics.unloads[static_cast<std::size_t>(StopReason::kEvicted)]; });
  writer.counter("drover_runner_crashes_total", "Runners that ended without being stopped.",
                 [](const ModelMetrics& metrics) { return metrics.crashes; });
  writer.counter("drover_runner_restarts_total", "Runners started because the one before had crashed or hung.",
                 [](const ModelMetrics& metrics) { return metrics.restarts; });
  writer.gauge("drover_model_memory_bytes", "Memory of the model's runner, measured when it was loaded.",
               &Gauges::memory_bytes);
  writer.gauge("drover_model_device_memory_bytes", "The part of the model's memory on GPUs.", &Gauges::device_bytes);
  writer.gauge("drover_kv_cells", "Cells of the KV cache; one cell holds one token.", &Gauges::kv_cells);
  writer.gauge("drover_kv_cells_used", "KV cells held by running requests.", &Gauges::kv_used);
  writer.gauge("drover_kv_cells_shared", "Used KV cells held by several requests.", &Gauges::kv_shared);
  writer.gauge("drover_kv_cells_kept", "KV cells held by no running request, for later ones.", &Gauges::kv_kept);
  writer.gauge("drover_sequences_preempted", "Requests preempted from a full KV cache that will be resumed.",
               &Gauges::preempted);
  writer.gauge("drover_sequences_parked", "The same as drover_sequences_preempted, under its earlier name.",
               &Gauges::preempted);
  writer.counter("drover_preemptions_total", "Preemptions from a full KV cache.",
                 [](const ModelMetrics& metrics) { return metrics.preempted; });
  writer.counter("drover_sequence_parks_total", "The same as drover_preemptions_total, under its earlier name.",
                 [](const ModelMetrics& metrics) { return metrics.preempted; });
}

}  // namespace

std::string metrics_text(const MetricsView& view) {
  Writer writer(view);
  writer.one("drover_build_info", "gauge", "Always 1; the version is the label.", 1,
             fmt::format("{{version=\"{}\"}}", escaped(view.version)));
  write_requests(writer);
  write_models(writer);
  writer.one("drover_queue_max", "gauge", "Requests that may wait, all models together.",
             static_cast<double>(view.queue_max));
  writer.one("drover_memory_max_bytes", "gauge", "Present memory limit for all runners together; 0: no limit.",
             static_cast<double>(view.memory_bytes_max));
  writer.one("process_resident_memory_bytes", "gauge", "Memory of the server itself, without its runners.",
             static_cast<double>(view.resident_bytes));
  writer.one("process_start_time_seconds", "gauge", "When the server started, in seconds since 1970.", view.started_at);
  return writer.take();
}

}  // namespace drover::api
