#include "load_test/bench_report.h"

#include <gtest/gtest.h>

#include <sstream>

#include "terminal/terminal.h"

namespace drover::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

LevelResult level(std::uint64_t at_once, std::uint64_t answers, std::uint64_t failures) {
  LevelResult result;
  result.plan.at_once = at_once;
  for (std::uint64_t i = 0; i < answers; ++i) {
    RequestOutcome outcome;
    outcome.first_piece = milliseconds(100 * (i + 1));
    outcome.end = seconds(i + 1);
    outcome.tokens = 50 * at_once;
    outcome.queue_wait = milliseconds(3);
    result.stats.add(outcome);
    result.stats.add_gap(milliseconds(12));
  }
  for (std::uint64_t i = 0; i < failures; ++i) {
    RequestOutcome outcome;
    outcome.error = "HTTP 503";
    outcome.error_text = "<b>busy</b> & so on, in a text that is much longer than what a terminal's line can hold " +
                         std::string(200, 'x');
    result.stats.add(outcome);
  }
  result.stats.finish(seconds(10));
  return result;
}

BenchReport report_of(std::vector<LevelResult> levels) {
  BenchReport report;
  report.target.url = "http://127.0.0.1:11434";
  report.target.model = "<cria>";
  report.target.version = "0.1.0";
  report.levels = std::move(levels);
  return report;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(LatencyText, HasThreeDigits) {
  EXPECT_EQ(latency_text(Nanoseconds(0)), "0µs");
  EXPECT_EQ(latency_text(std::chrono::microseconds(812)), "812µs");
  EXPECT_EQ(latency_text(std::chrono::microseconds(4119)), "4.12ms");
  EXPECT_EQ(latency_text(std::chrono::microseconds(99'970)), "100ms");
  EXPECT_EQ(latency_text(milliseconds(1500)), "1.50s");
  EXPECT_EQ(latency_text(milliseconds(999'6)), "10.0s");
  EXPECT_EQ(latency_text(seconds(119)), "119s");
  EXPECT_EQ(latency_text(seconds(250)), "4m10s");
}

TEST(ReportText, FitsAHundredColumns) {
  BenchReport report = report_of({level(1, 10, 0), level(4096, 1'000, 70'000)});
  for (const LoopKind kind : {LoopKind::kClosed, LoopKind::kOpen}) {
    for (LevelResult& result : report.levels) {
      result.plan.kind = kind;
      result.plan.per_second = 12'345.5;
    }
    for (const std::string& line : lines_of(report_text(report))) {
      EXPECT_LE(display_width(line), 100) << line;
      EXPECT_FALSE(line.ends_with(' ')) << line;
    }
  }
}

TEST(ReportText, SaysEachThing) {
  const std::string text = report_text(report_of({level(1, 10, 0), level(2, 10, 3)}));
  EXPECT_NE(text.find("output tokens/s"), std::string::npos);
  EXPECT_NE(text.find("2.00x"), std::string::npos);  // speed-up
  EXPECT_NE(text.find("3 x HTTP 503: <b>busy</b>"), std::string::npos) << text;
  EXPECT_NE(text.find("Closed loop"), std::string::npos);
  EXPECT_NE(text.find("12.0ms"), std::string::npos);
  EXPECT_EQ(text.find("WARNING"), std::string::npos);
}

TEST(ReportText, ShowsADashForWhatIsNotKnown) {
  LevelResult without;
  without.plan.at_once = 8;
  RequestOutcome outcome;
  outcome.end = seconds(1);
  outcome.tokens = 1;
  without.stats.add(outcome);
  without.stats.finish(seconds(1));
  const auto lines = lines_of(report_text(report_of({without})));
  EXPECT_NE(lines[3].find("       -"), std::string::npos) << lines[3];  // No level with one at a time to compare with.
  EXPECT_NE(lines[7].find("-        -        -        -"), std::string::npos) << lines[7];
}

TEST(ReportText, WarnsOfABusyClient) {
  LevelResult busy = level(64, 10, 0);
  busy.client.cpu_share = 0.95;
  EXPECT_NE(report_text(report_of({busy})).find("WARNING: at 64"), std::string::npos);
  LevelResult late = level(64, 10, 0);
  late.client.lag_p99 = milliseconds(50);
  EXPECT_NE(report_text(report_of({late})).find("WARNING: at 64"), std::string::npos);
}

TEST(ReportText, OfNothingIsEmpty) {
  EXPECT_EQ(report_text(BenchReport()), "");
  EXPECT_EQ(report_text(CompareReport()), "");
  EXPECT_TRUE(report_json(BenchReport())["levels"].empty());
}

CompareReport comparison() {
  CompareReport report;
  report.first = report.second = report_of({}).target;
  report.rounds = 3;
  ComparedLevel compared;
  compared.first = level(4, 10, 0);
  compared.second = level(4, 10, 0);
  compared.requests_per_second = {1.5, 1.2, 1.4};
  report.levels = {compared};
  return report;
}

TEST(ReportText, OfTwoServersGivesRatiosWithTheirSpread) {
  const std::string text = report_text(comparison());
  EXPECT_NE(text.find("1.40 (1.20-1.50)"), std::string::npos) << text;
  for (const std::string& line : lines_of(text)) EXPECT_LE(display_width(line), 100) << line;
}

TEST(ReportJson, HasTheFiguresOfEachLevel) {
  const Json json = report_json(report_of({level(1, 10, 0), level(2, 10, 3)}));
  const Json& second = json["levels"][1];
  EXPECT_EQ(second["concurrency"], 2);
  EXPECT_EQ(second["succeeded"], 10);
  EXPECT_EQ(second["errors"]["HTTP 503"]["count"], 3);
  EXPECT_DOUBLE_EQ(second["speed_up"].get<double>(), 2);
  EXPECT_NEAR(second["time_to_first_token"]["p50_ms"].get<double>(), 500, 2);
  EXPECT_DOUBLE_EQ(second["total"]["max_ms"].get<double>(), 10'000);
  EXPECT_DOUBLE_EQ(
      report_json(comparison())["levels"][0]["second_to_first"]["requests_per_second"]["median"].get<double>(), 1.4);
}

void expect_self_contained(const std::string& html) {
  for (const char* loading : {"<script", "src=", "<link", "@import", "url(", "<b>"}) {
    EXPECT_EQ(html.find(loading), std::string::npos) << loading;
  }
  EXPECT_TRUE(html.starts_with("<!DOCTYPE html>"));
  EXPECT_NE(html.find("prefers-color-scheme: dark"), std::string::npos);
  EXPECT_NE(html.find("&lt;cria&gt;"), std::string::npos);
  EXPECT_NE(html.find("<svg"), std::string::npos);
  EXPECT_EQ(html.find("nan"), std::string::npos);
}

TEST(ReportHtml, LoadsNothingAndEscapesWhatItWasTold) {
  const std::string html = report_html(report_of({level(1, 10, 0), level(2, 10, 3)}));
  expect_self_contained(html);
  EXPECT_NE(html.find("&lt;b&gt;busy&lt;/b&gt; &amp; so on"), std::string::npos);
  expect_self_contained(report_html(comparison()));
}

TEST(ReportHtml, TakesLevelsWithoutAnAnswer) {
  const std::string html = report_html(report_of({level(1, 0, 5)}));
  expect_self_contained(html);
}

}  // namespace
}  // namespace drover::cli
