// How a load test's results are shown: as text of at most 100 columns, as JSON, and as a page of its own. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/json.h"
#include "load_test/bench_run.h"

namespace drover::cli {

struct BenchReport {
  BenchTarget target;
  BenchWork work;
  std::string date;  // when it began
  std::vector<LevelResult> levels;
};

// One level on two servers, so many times in turn.
struct ComparedLevel {
  LevelResult first;  // all rounds together
  LevelResult second;
  // Second to first, one of each round; a round in which either has no figure gives none.
  std::vector<double> tokens_per_second;
  std::vector<double> requests_per_second;
  std::vector<double> first_token_p50;
  std::vector<double> total_p99;
};

struct CompareReport {
  BenchTarget first;
  BenchTarget second;
  BenchWork work;
  std::string date;
  std::uint64_t rounds = 0;
  std::vector<ComparedLevel> levels;
};

std::string report_text(const BenchReport& report);
std::string report_text(const CompareReport& report);
Json report_json(const BenchReport& report);
Json report_json(const CompareReport& report);
// A whole HTML document that loads nothing from elsewhere.
std::string report_html(const BenchReport& report);
std::string report_html(const CompareReport& report);

// Three digits and a unit: "812µs", "4.12ms", "1.50s", "4m10s".
std::string latency_text(Nanoseconds latency);
// "16" at once, or "2.5/s".
std::string level_name(const LevelPlan& plan);
// Tokens a second as a multiple of those with one request at a time; 0 if that was not measured.
double speed_up(const std::vector<LevelResult>& levels, const LevelResult& level);
// What a reader has to know to judge the figures, one sentence or two each.
std::vector<std::string> report_notes(const BenchWork& work, const std::vector<LevelResult>& levels,
                                      const std::string& url);

}  // namespace drover::cli
