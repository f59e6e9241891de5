#include "load_test/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "net/http_loop.h"
#include "terminal/terminal.h"

namespace drover::cli {
namespace {

constexpr std::size_t kColumnsMax = 100;
constexpr std::array<double, 3> kPercents = {50, 90, 99};
constexpr int kErrorColumnsMax = 60;

std::string number_text(double value) {
  if (value <= 0) return "0";
  if (value < 10) return fmt::format("{:.2f}", value);
  if (value < 1000) return fmt::format("{:.1f}", value);
  return fmt::format("{:.0f}", value);
}

std::string level_head(LoopKind kind) {
  return kind == LoopKind::kClosed ? "at once" : "rate";
}

std::array<std::string, 4> latency_cells(const LatencyHistogram& latencies) {
  if (latencies.count() == 0) return {"-", "-", "-", "-"};
  return {latency_text(latencies.percentile(50)), latency_text(latencies.percentile(90)),
          latency_text(latencies.percentile(99)), latency_text(latencies.largest())};
}

std::string throughput_table(const std::vector<LevelResult>& levels) {
  const LoopKind kind = levels.front().plan.kind;
  std::string text = fmt::format("{:>8}  {:>8}  {:>8}  {:>10}  {:>15}  {:>8}  {:>8}\n", level_head(kind), "answers",
                                 "errors", "requests/s", "output tokens/s", "speed-up", "seconds");
  for (const LevelResult& level : levels) {
    const double factor = speed_up(levels, level);
    text += fmt::format("{:>8}  {:>8}  {:>8}  {:>10}  {:>15}  {:>8}  {:>8}\n", level_name(level.plan),
                        level.stats.succeeded(), level.stats.failed(), number_text(level.stats.requests_per_second()),
                        number_text(level.stats.tokens_per_second()), factor > 0 ? fmt::format("{:.2f}x", factor) : "-",
                        number_text(level.stats.seconds()));
  }
  return text;
}

using Column = const LatencyHistogram& (LevelStats::*)() const;

// Two kinds of latency side by side.
std::string latency_table(const std::vector<LevelResult>& levels, const char* left_name, Column left,
                          const char* right_name, Column right) {
  constexpr int kGroup = 4 * 9;
  std::string text = fmt::format("{:>8}  {:^{}}    {:^{}}", "", left_name, kGroup, right_name, kGroup);
  text.erase(text.find_last_not_of(' ') + 1);
  text += '\n';
  const auto row = [&](const std::string& name, const std::array<std::string, 4>& one,
                       const std::array<std::string, 4>& two) {
    text += fmt::format("{:>8}  {:>9}{:>9}{:>9}{:>9}    {:>9}{:>9}{:>9}{:>9}\n", name, one[0], one[1], one[2], one[3],
                        two[0], two[1], two[2], two[3]);
  };
  const std::array<std::string, 4> heads = {"p50", "p90", "p99", "max"};
  row(level_head(levels.front().plan.kind), heads, heads);
  for (const LevelResult& level : levels) {
    row(level_name(level.plan), latency_cells((level.stats.*left)()), latency_cells((level.stats.*right)()));
  }
  return text;
}

std::string error_lines(const std::vector<LevelResult>& levels) {
  std::string text;
  for (const LevelResult& level : levels) {
    for (const auto& [kind, error] : level.stats.errors()) {
      text += fmt::format("{:>8}  {:>8} x {}", level_name(level.plan), error.count, kind);
      if (!error.example.empty()) text += fmt::format(": {}", clip(error.example, kErrorColumnsMax));
      text += '\n';
    }
  }
  return text.empty() ? text : "\nErrors\n" + text;
}

std::string tables(const std::vector<LevelResult>& levels) {
  return throughput_table(levels) + "\n" +
         latency_table(levels, "time to first token", &LevelStats::first_token, "between tokens",
                       &LevelStats::between) +
         "\n" + latency_table(levels, "total", &LevelStats::total, "waiting in the server", &LevelStats::queue_wait) +
         error_lines(levels);
}

// Wraps at words, with a dash before the first line.
std::string as_items(const std::vector<std::string>& notes) {
  std::string text;
  for (const std::string& note : notes) {
    std::string line = "-";
    std::size_t start = 0;
    while (start < note.size()) {
      const std::size_t end = std::min(note.find(' ', start), note.size());
      if (line.size() + 1 + end - start > kColumnsMax) {
        text += line + "\n";
        line = " ";
      }
      line += " " + note.substr(start, end - start);
      start = end + 1;
    }
    text += line + "\n";
  }
  return text;
}

std::string target_text(const BenchTarget& target) {
  std::string text =
      fmt::format("{} at {} ({} API", target.model, target.url, target.api == BenchApi::kOllama ? "Ollama" : "OpenAI");
  if (!target.version.empty()) text += ", version " + target.version;
  return printable(text + ")");
}

std::string ratio_text(const std::vector<double>& ratios) {
  if (ratios.empty()) return "-";
  const Spread spread = spread_of(ratios);
  return fmt::format("{:.2f} ({:.2f}-{:.2f})", spread.median, spread.lowest, spread.highest);
}

Json latency_json(const LatencyHistogram& latencies) {
  if (latencies.count() == 0) return nullptr;
  const auto milliseconds = [](Nanoseconds duration) {
    return std::round(std::chrono::duration<double, std::milli>(duration).count() * 1000) / 1000;
  };
  Json json;
  json["count"] = latencies.count();
  json["mean_ms"] = milliseconds(latencies.mean());
  for (const double percent : kPercents) {
    json[fmt::format("p{:.0f}_ms", percent)] = milliseconds(latencies.percentile(percent));
  }
  json["max_ms"] = milliseconds(latencies.largest());
  return json;
}

Json level_json(const LevelResult& level) {
  const LevelStats& stats = level.stats;
  Json json;
  json["loop"] = level.plan.kind == LoopKind::kClosed ? "closed" : "open";
  if (level.plan.kind == LoopKind::kClosed) {
    json["concurrency"] = level.plan.at_once;
  } else {
    json["rate"] = level.plan.per_second;
  }
  json["requests"] = level.requests_begun;
  json["succeeded"] = stats.succeeded();
  json["failed"] = stats.failed();
  json["interrupted"] = level.interrupted;
  json["measured_s"] = stats.seconds();
  json["requests_per_second"] = stats.requests_per_second();
  json["output_tokens_per_second"] = stats.tokens_per_second();
  json["output_tokens"] = stats.output_tokens();
  json["prompt_tokens"] = stats.prompt_tokens();
  json["tokens_counted_by"] = stats.tokens_are_exact() ? "server" : "pieces";
  json["time_to_first_token"] = latency_json(stats.first_token());
  json["inter_token"] = latency_json(stats.between());
  json["total"] = latency_json(stats.total());
  json["queue_wait"] = latency_json(stats.queue_wait());
  json["queue_wait_by"] = stats.queue_wait_is_told() ? "server" : "durations";
  json["errors"] = Json::object();
  for (const auto& [kind, error] : stats.errors()) {
    json["errors"][kind] = {{"count", error.count}, {"example", error.example}};
  }
  json["client"]["cpu_share"] = level.client.cpu_share;
  json["client"]["lag_p99_ms"] = std::chrono::duration<double, std::milli>(level.client.lag_p99).count();
  json["client"]["lag_max_ms"] = std::chrono::duration<double, std::milli>(level.client.lag_largest).count();
  json["client"]["overloaded"] = level.client.overloaded();
  return json;
}

Json target_json(const BenchTarget& target) {
  return {{"url", target.url}, {"model", target.model}, {"api", api_name(target.api)}, {"version", target.version}};
}

Json work_json(const BenchWork& work) {
  const PromptOptions& prompts = work.prompts;
  return {{"prompt", prompts.text},
          {"prompt_words", prompts.text.empty() ? Json(prompts.words) : Json(nullptr)},
          {"shared_words", prompts.shared_words},
          {"same_prompt", prompts.variety == PromptVariety::kSame},
          {"seed", prompts.seed},
          {"max_tokens", work.tokens_max},
          {"temperature", work.temperature},
          {"stream", work.mode == AnswerMode::kStream}};
}

Json ratio_json(const std::vector<double>& ratios) {
  if (ratios.empty()) return nullptr;
  const Spread spread = spread_of(ratios);
  return {{"median", spread.median}, {"lowest", spread.lowest}, {"highest", spread.highest}, {"rounds", ratios}};
}

std::vector<LevelResult> side_of(const CompareReport& report, LevelResult ComparedLevel::*side) {
  std::vector<LevelResult> levels;
  for (const ComparedLevel& level : report.levels) levels.push_back(level.*side);
  return levels;
}

}  // namespace

std::string latency_text(Nanoseconds latency) {
  const double seconds = to_seconds(latency);
  const auto three_digits = [](double value, const char* unit) {
    return fmt::format("{:.{}f}{}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, unit);
  };
  if (seconds < 0.0009995) return fmt::format("{:.0f}µs", seconds * 1e6);
  if (seconds < 0.9995) return three_digits(seconds * 1e3, "ms");
  if (seconds < 119.5) return three_digits(seconds, "s");
  const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
  return fmt::format("{}m{:02}s", whole / 60, whole % 60);
}

std::string level_name(const LevelPlan& plan) {
  if (plan.kind == LoopKind::kClosed) return std::to_string(plan.at_once);
  return fmt::format("{:g}/s", plan.per_second);
}

double speed_up(const std::vector<LevelResult>& levels, const LevelResult& level) {
  for (const LevelResult& other : levels) {
    if (other.plan.kind != LoopKind::kClosed || other.plan.at_once != 1) continue;
    const double one = other.stats.tokens_per_second();
    return one > 0 ? level.stats.tokens_per_second() / one : 0;
  }
  return 0;
}

std::vector<std::string> report_notes(const BenchWork& work, const std::vector<LevelResult>& levels,
                                      const std::string& url) {
  std::vector<std::string> notes;
  if (levels.front().plan.kind == LoopKind::kClosed) {
    notes.push_back(
        "Closed loop: each of N users sends its next request when it has its answer, so a slow server is asked less. "
        "Latencies are what N users see; for a given rate of requests use --rate.");
  } else {
    notes.push_back(
        "Open loop: requests come at random times (Poisson) whatever the server does, and latencies count from when a "
        "request was due, not from when it was sent (no coordinated omission).");
  }
  notes.push_back(fmt::format(
      "{} Up to {} tokens an answer, temperature 0. Not measured: one request that loads the model. --seed {} repeats "
      "these prompts.",
      work.prompts.variety == PromptVariety::kSame
          ? "All prompts are the same: a server may answer them from its cache."
      : work.prompts.shared_words > 0
          ? fmt::format("Prompts share their first {} words and differ behind them.", work.prompts.shared_words)
          : "All prompts are different, so that no cache answers.",
      work.tokens_max, work.prompts.seed));
  std::string counted = "Percentiles are within 0.4 %, max is exact.";
  const auto count_pieces = [](const LevelResult& level) { return !level.stats.tokens_are_exact(); };
  if (std::any_of(levels.begin(), levels.end(), count_pieces)) {
    counted += " The server did not count its tokens: pieces of the streams count as tokens.";
  }
  if (std::all_of(levels.begin(), levels.end(),
                  [](const auto& level) { return level.stats.queue_wait().count() > 0; })) {
    const bool told =
        std::all_of(levels.begin(), levels.end(), [](const auto& level) { return level.stats.queue_wait_is_told(); });
    counted += told ? " Waiting is what the server says that a request waited for its turn."
                    : " Waiting is what an answer's durations leave: neither reading the prompt nor generating.";
  } else {
    counted += " The server does not say how long requests wait.";
  }
  notes.push_back(std::move(counted));
  double cpu = 0;
  Nanoseconds lag{};
  for (const LevelResult& level : levels) {
    cpu = std::max(cpu, level.client.cpu_share);
    lag = std::max(lag, level.client.lag_p99);
  }
  notes.push_back(fmt::format("Load generator: at most {:.0f} % of a core{}, p99 scheduling delay {}.", cpu * 100,
                              net::is_loopback_url(url) ? " (shared with the server)" : "", latency_text(lag)));
  for (const LevelResult& level : levels) {
    if (level.interrupted)
      notes.push_back(fmt::format("INTERRUPTED at {}: only completed requests count.", level_name(level.plan)));
    if (!level.client.overloaded()) continue;
    notes.push_back(fmt::format(
        "WARNING: at {} the load generator was the bottleneck or close to it ({:.0f} % of a core, {} late): the "
        "figures may be "
        "its own and not the server's.",
        level_name(level.plan), level.client.cpu_share * 100, latency_text(level.client.lag_p99)));
  }
  return notes;
}

std::string report_text(const BenchReport& report) {
  if (report.levels.empty()) return "";
  return target_text(report.target) + "\n\n" + tables(report.levels) + "\n" +
         as_items(report_notes(report.work, report.levels, report.target.url));
}

std::string report_text(const CompareReport& report) {
  if (report.levels.empty()) return "";
  const auto first = side_of(report, &ComparedLevel::first);
  const auto second = side_of(report, &ComparedLevel::second);
  std::string text = fmt::format("1: {}\n\n{}\n2: {}\n\n{}\n", target_text(report.first), tables(first),
                                 target_text(report.second), tables(second));
  text += fmt::format("2 to 1: median of {} rounds (lowest-highest)\n", report.rounds);
  text += fmt::format("{:>8}  {:>18}  {:>18}  {:>18}  {:>18}\n", level_head(first.front().plan.kind), "requests/s",
                      "output tokens/s", "first token p50", "total p99");
  for (const ComparedLevel& level : report.levels) {
    text += fmt::format("{:>8}  {:>18}  {:>18}  {:>18}  {:>18}\n", level_name(level.first.plan),
                        ratio_text(level.requests_per_second), ratio_text(level.tokens_per_second),
                        ratio_text(level.first_token_p50), ratio_text(level.total_p99));
  }
  auto notes = report_notes(report.work, first, report.first.url);
  notes.insert(notes.begin(),
               "The servers took turns, and who began changed from round to round; both got the same prompts. A ratio "
               "whose range includes 1.00 shows no difference.");
  return text + "\n" + as_items(notes);
}

Json report_json(const BenchReport& report) {
  Json json;
  json["date"] = report.date;
  json["target"] = target_json(report.target);
  json["work"] = work_json(report.work);
  json["levels"] = Json::array();
  for (const LevelResult& level : report.levels) {
    Json entry = level_json(level);
    const double factor = speed_up(report.levels, level);
    entry["speed_up"] = factor > 0 ? Json(factor) : Json(nullptr);
    json["levels"].push_back(std::move(entry));
  }
  if (!report.levels.empty()) json["notes"] = report_notes(report.work, report.levels, report.target.url);
  return json;
}

Json report_json(const CompareReport& report) {
  Json json;
  json["date"] = report.date;
  json["first"] = target_json(report.first);
  json["second"] = target_json(report.second);
  json["work"] = work_json(report.work);
  json["rounds"] = report.rounds;
  json["levels"] = Json::array();
  for (const ComparedLevel& level : report.levels) {
    Json entry;
    entry["first"] = level_json(level.first);
    entry["second"] = level_json(level.second);
    entry["second_to_first"] = {{"requests_per_second", ratio_json(level.requests_per_second)},
                                {"output_tokens_per_second", ratio_json(level.tokens_per_second)},
                                {"time_to_first_token_p50", ratio_json(level.first_token_p50)},
                                {"total_p99", ratio_json(level.total_p99)}};
    json["levels"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace drover::cli
