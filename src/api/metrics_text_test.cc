#include "api/metrics_text.h"

#include <gtest/gtest.h>

namespace drover::api {
namespace {

LoadedModelView loaded(const std::string& name, int running) {
  LoadedModelView view;
  view.name = name;
  view.state.state = ModelState::kLoaded;
  view.state.running = running;
  view.state.slots = 4;
  view.kv = {.cells = 100, .used = 20, .shared = 5, .kept = 30};
  return view;
}

std::string text_of(const Metrics& metrics, const std::vector<LoadedModelView>& models) {
  return metrics_text({.metrics = metrics, .models = models, .version = "1.2.3", .queue_max = 512});
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(MetricsText, BucketsAreCumulative) {
  Metrics metrics;
  for (const double wait : {0.0005, 0.003, 0.004, 1000.0}) metrics.of("cria").queue_wait.observe(wait);
  const std::string text = text_of(metrics, {});
  EXPECT_TRUE(has_line(text, "# TYPE drover_queue_wait_seconds histogram"));
  EXPECT_TRUE(has_line(text, R"(drover_queue_wait_seconds_bucket{model="cria",le="0.001"} 1)"));
  EXPECT_TRUE(has_line(text, R"(drover_queue_wait_seconds_bucket{model="cria",le="0.005"} 3)"));
  EXPECT_TRUE(has_line(text, R"(drover_queue_wait_seconds_bucket{model="cria",le="600"} 3)"));
  EXPECT_TRUE(has_line(text, R"(drover_queue_wait_seconds_bucket{model="cria",le="+Inf"} 4)"));
  EXPECT_TRUE(has_line(text, R"(drover_queue_wait_seconds_count{model="cria"} 4)"));
}

TEST(MetricsText, GaugesOfOneNameAreAddedUp) {
  Metrics metrics;
  metrics.of("cria");
  const std::string text = text_of(metrics, {loaded("cria", 1), loaded("cria", 2)});
  EXPECT_TRUE(has_line(text, R"(drover_requests_running{model="cria"} 3)"));
  EXPECT_TRUE(has_line(text, R"(drover_slots{model="cria"} 8)"));
  EXPECT_TRUE(has_line(text, R"(drover_places{model="cria"} 8)"));
  EXPECT_TRUE(has_line(text, R"(drover_kv_cells_kept{model="cria"} 60)"));
}

TEST(MetricsText, SlotsForEmbeddingsAreCountedApart) {
  Metrics metrics;
  metrics.of("cria");
  LoadedModelView embedder = loaded("cria", 3);
  embedder.embedding = true;
  embedder.state.slots = 64;
  const std::string text = text_of(metrics, {loaded("cria", 1), embedder});
  EXPECT_TRUE(has_line(text, R"(drover_slots{model="cria"} 4)"));
  EXPECT_TRUE(has_line(text, R"(drover_embedding_slots{model="cria"} 64)"));
  EXPECT_TRUE(has_line(text, R"(drover_embedding_places{model="cria"} 64)"));
  EXPECT_TRUE(has_line(text, R"(drover_requests_running{model="cria"} 4)"));
  EXPECT_TRUE(has_line(text, R"(drover_embedding_requests_running{model="cria"} 3)"));
}

TEST(MetricsText, WhatIsNotInMemoryShowsZero) {
  Metrics metrics;
  metrics.of("cria");
  const std::string text = text_of(metrics, {});
  EXPECT_TRUE(has_line(text, R"(drover_requests_waiting{model="cria"} 0)"));
  EXPECT_TRUE(has_line(text, R"(drover_model_loaded{model="cria"} 0)"));
}

TEST(MetricsText, ModelsBeyondTheBoundShareALabel) {
  Metrics metrics;
  std::vector<LoadedModelView> models;
  for (std::size_t i = 0; i < Metrics::kModelsMax + 50; ++i) {
    const std::string name = "model" + std::to_string(i);
    ++metrics.of(name).crashes;
    models.push_back(loaded(name, 1));
  }
  const std::string text = text_of(metrics, models);
  EXPECT_TRUE(has_line(text, R"(drover_requests_running{model="other"} 51)"));
  EXPECT_TRUE(has_line(text, R"(drover_runner_crashes_total{model="other"} 51)"));
  EXPECT_EQ(text.find("model149"), std::string::npos);
}

TEST(MetricsText, LabelsAreEscaped) {
  Metrics metrics;
  ++metrics.of("a\"b\\c\nd").crashes;
  EXPECT_TRUE(has_line(text_of(metrics, {}), R"(drover_runner_crashes_total{model="a\"b\\c\nd"} 1)"));
}

TEST(MetricsText, OnlyWhatHasHappenedHasAReason) {
  Metrics metrics;
  ++metrics.of("cria").unloads[static_cast<std::size_t>(StopReason::kEvicted)];
  const std::string text = text_of(metrics, {});
  EXPECT_TRUE(has_line(text, R"(drover_unloads_total{model="cria",reason="evicted"} 1)"));
  EXPECT_TRUE(has_line(text, R"(drover_evictions_total{model="cria"} 1)"));
  EXPECT_EQ(text.find("reason=\"idle\""), std::string::npos);
}

}  // namespace
}  // namespace drover::api
