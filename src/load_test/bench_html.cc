// The report as an HTML page: charts as inline SVG, no script, nothing loaded from elsewhere.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "load_test/bench_report.h"

namespace drover::cli {
namespace {

constexpr const char* kStyle = R"css(
:root { color-scheme: light dark; --page: #fbfaf8; --card: #ffffff; --text: #23211e; --faint: #6d6860; --line: #e2ded7;
  --one: #2f6fb3; --two: #b8621b; --three: #a23b5c; --warn: #fff3d6; }
@media (prefers-color-scheme: dark) { :root { --page: #16171a; --card: #1f2125; --text: #e8e6e3; --faint: #a09b94;
  --line: #34373d; --one: #6aa9ec; --two: #eda35c; --three: #ee7f9f; --warn: #4a3c14; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
p.what { margin: .2rem 0 1.2rem; color: var(--faint); overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
figcaption { font-weight: 600; } figcaption span { font-weight: 400; color: var(--faint); }
.legend { display: flex; gap: 1rem; font-size: .85rem; color: var(--faint); }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .35em; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--faint); }
svg .grid { stroke: var(--line); } svg polyline { fill: none; stroke-width: 2; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--faint); font-weight: 500; } th.group { text-align: center; }
td.text { text-align: left; white-space: normal; } ul { padding-left: 1.2rem; } li.warn { background: var(--warn); }
)css";

constexpr double kWidth = 520;
constexpr double kHeight = 240;
constexpr double kLeft = 58;
constexpr double kRight = 16;
constexpr double kTop = 14;
constexpr double kBottom = 30;
constexpr int kGridLines = 4;

std::string escape(std::string_view text) {
  std::string result;
  for (const char character : text) {
    switch (character) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        // Control characters may not stand in HTML at all.
        result += static_cast<unsigned char>(character) < 0x20 ? ' ' : character;
    }
  }
  return result;
}

struct Series {
  std::string name;
  const char* color;           // a CSS variable
  std::vector<double> values;  // one a level; negative: none
};

using ValueText = std::function<std::string(double)>;

std::string plain_number(double value) {
  return value < 10 && value != std::floor(value) ? fmt::format("{:.2g}", value) : fmt::format("{:.0f}", value);
}

std::string seconds_text(double seconds) {
  if (seconds == 0) return "0";
  return latency_text(from_seconds(seconds));
}

// The smallest of 1, 2, 2.5, 4, 5 and 10 times a power of ten, times kGridLines, that is not below `value`.
double axis_end(double value) {
  if (value <= 0) return 1;
  const double step = value / kGridLines;
  const double power = std::pow(10, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 2.5, 4.0, 5.0}) {
    if (factor * power >= step) return factor * power * kGridLines;
  }
  return 10 * power * kGridLines;
}

std::string chart(const std::string& title, const std::string& unit, const std::vector<std::string>& levels,
                  const std::vector<Series>& series, const ValueText& value_text) {
  double largest = 0;
  for (const Series& one : series) {
    for (const double value : one.values) largest = std::max(largest, value);
  }
  const double end = axis_end(largest);
  const double plot_width = kWidth - kLeft - kRight;
  const double plot_height = kHeight - kTop - kBottom;
  const double spacing = plot_width / static_cast<double>(levels.size());
  const auto x_of = [&](std::size_t index) { return kLeft + (static_cast<double>(index) + 0.5) * spacing; };
  const auto y_of = [&](double value) { return kTop + plot_height * (1 - value / end); };

  std::string svg =
      fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{}">)", kWidth, kHeight, escape(title));
  for (int i = 0; i <= kGridLines; ++i) {
    const double value = end * i / kGridLines;
    svg += fmt::format(R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>)", kLeft, kWidth - kRight,
                       y_of(value), y_of(value));
    svg += fmt::format(R"(<text x="{}" y="{:.1f}" text-anchor="end">{}</text>)", kLeft - 6, y_of(value) + 4,
                       escape(value_text(value)));
  }
  for (std::size_t i = 0; i < levels.size(); ++i) {
    svg += fmt::format(R"(<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>)", x_of(i), kHeight - 10,
                       escape(levels[i]));
  }
  for (const Series& one : series) {
    std::string points;
    std::string dots;
    for (std::size_t i = 0; i < one.values.size(); ++i) {
      if (one.values[i] < 0) continue;
      points += fmt::format("{:.1f},{:.1f} ", x_of(i), y_of(one.values[i]));
      dots += fmt::format(
          R"x(<circle cx="{:.1f}" cy="{:.1f}" r="4" style="fill:var({})"><title>{} at {}: {}</title></circle>)x",
          x_of(i), y_of(one.values[i]), one.color, escape(one.name), escape(levels[i]),
          escape(value_text(one.values[i])));
    }
    svg += fmt::format(R"x(<polyline points="{}" style="stroke:var({})"/>)x", points, one.color) + dots;
  }
  std::string legend;
  for (const Series& one : series) {
    legend += fmt::format(R"x(<span><i style="background:var({})"></i>{}</span>)x", one.color, escape(one.name));
  }
  return fmt::format(
      "<figure><figcaption>{} <span>{}</span></figcaption><div class=\"legend\">{}</div>{}</svg></figure>\n",
      escape(title), escape(unit), legend, svg);
}

using Levels = std::vector<LevelResult>;
using Latencies = const LatencyHistogram& (LevelStats::*)() const;

struct LatencyKind {
  const char* name;
  Latencies of;
};
constexpr LatencyKind kLatencies[] = {{"Time to first token", &LevelStats::first_token},
                                      {"Between tokens", &LevelStats::between},
                                      {"Total", &LevelStats::total},
                                      {"Waiting in the server", &LevelStats::queue_wait}};

Series percentiles(const Levels& levels, Latencies of, double percent, std::string name, const char* color) {
  Series series{std::move(name), color, {}};
  for (const LevelResult& level : levels) {
    const LatencyHistogram& latencies = (level.stats.*of)();
    series.values.push_back(latencies.count() == 0 ? -1 : to_seconds(latencies.percentile(percent)));
  }
  return series;
}

Series rates(const Levels& levels, double (LevelStats::*of)() const, std::string name, const char* color) {
  Series series{std::move(name), color, {}};
  for (const LevelResult& level : levels) series.values.push_back((level.stats.*of)());
  return series;
}

bool has_values(const Levels& levels, Latencies of) {
  return std::any_of(levels.begin(), levels.end(), [&](const auto& level) { return (level.stats.*of)().count() > 0; });
}

std::vector<std::string> names_of(const Levels& levels) {
  std::vector<std::string> names;
  for (const LevelResult& level : levels) names.push_back(level_name(level.plan));
  return names;
}

std::string axis_text(const Levels& levels) {
  return levels.front().plan.kind == LoopKind::kClosed ? "by requests at once" : "by requests per second asked for";
}

std::string charts_of(const Levels& levels) {
  const auto names = names_of(levels);
  std::string html = "<div class=\"charts\">\n";
  html += chart("Output tokens per second", axis_text(levels), names,
                {rates(levels, &LevelStats::tokens_per_second, "all requests together", "--one")}, plain_number);
  html += chart("Requests per second", axis_text(levels), names,
                {rates(levels, &LevelStats::requests_per_second, "answered", "--one")}, plain_number);
  for (const LatencyKind& kind : kLatencies) {
    if (!has_values(levels, kind.of)) continue;
    html += chart(kind.name, axis_text(levels), names,
                  {percentiles(levels, kind.of, 50, "p50", "--one"), percentiles(levels, kind.of, 90, "p90", "--two"),
                   percentiles(levels, kind.of, 99, "p99", "--three")},
                  seconds_text);
  }
  return html + "</div>\n";
}

std::string compared_charts(const Levels& first, const Levels& second, const std::string& one, const std::string& two) {
  const auto names = names_of(first);
  std::string html = "<div class=\"charts\">\n";
  const auto rate = [&](const char* title, double (LevelStats::*of)() const) {
    html += chart(title, axis_text(first), names, {rates(first, of, one, "--one"), rates(second, of, two, "--two")},
                  plain_number);
  };
  rate("Output tokens per second", &LevelStats::tokens_per_second);
  rate("Requests per second", &LevelStats::requests_per_second);
  for (const LatencyKind& kind : kLatencies) {
    if (!has_values(first, kind.of) || !has_values(second, kind.of)) continue;
    html += chart(fmt::format("{}, p50", kind.name), axis_text(first), names,
                  {percentiles(first, kind.of, 50, one, "--one"), percentiles(second, kind.of, 50, two, "--two")},
                  seconds_text);
  }
  return html + "</div>\n";
}

std::string table_of(const Levels& levels) {
  std::string html = "<div class=\"scroll\"><table><tr><th></th><th class=\"group\" colspan=\"4\">throughput</th>";
  for (const LatencyKind& kind : kLatencies)
    html += fmt::format("<th class=\"group\" colspan=\"4\">{}</th>", kind.name);
  html += fmt::format("</tr>\n<tr><th>{}</th><th>requests/s</th><th>tokens/s</th><th>speed-up</th><th>errors</th>",
                      levels.front().plan.kind == LoopKind::kClosed ? "at once" : "rate");
  for (std::size_t i = 0; i < std::size(kLatencies); ++i) html += "<th>p50</th><th>p90</th><th>p99</th><th>max</th>";
  html += "</tr>\n";
  for (const LevelResult& level : levels) {
    const double factor = speed_up(levels, level);
    html += fmt::format("<tr><td>{}</td><td>{:.2f}</td><td>{:.1f}</td><td>{}</td><td>{}</td>", level_name(level.plan),
                        level.stats.requests_per_second(), level.stats.tokens_per_second(),
                        factor > 0 ? fmt::format("{:.2f}×", factor) : "-", level.stats.failed());
    for (const LatencyKind& kind : kLatencies) {
      const LatencyHistogram& latencies = (level.stats.*kind.of)();
      for (const double percent : {50.0, 90.0, 99.0, 100.0}) {
        html += fmt::format("<td>{}</td>", latencies.count() == 0 ? "-" : latency_text(latencies.percentile(percent)));
      }
    }
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string errors_of(const Levels& levels) {
  std::string rows;
  for (const LevelResult& level : levels) {
    for (const auto& [kind, error] : level.stats.errors()) {
      rows += fmt::format("<tr><td>{}</td><td>{}</td><td class=\"text\">{}: {}</td></tr>\n", level_name(level.plan),
                          error.count, escape(kind), escape(error.example));
    }
  }
  return rows.empty() ? rows : "<h2>Errors</h2>\n<table>\n" + rows + "</table>\n";
}

std::string notes_of(const std::vector<std::string>& notes) {
  std::string html = "<h2>How it was measured</h2>\n<ul>\n";
  for (const std::string& note : notes) {
    const bool warning = note.starts_with("WARNING") || note.starts_with("INTERRUPTED");
    html += fmt::format("<li{}>{}</li>\n", warning ? " class=\"warn\"" : "", escape(note));
  }
  return html + "</ul>\n";
}

std::string page(const std::string& title, const std::string& what, const std::string& body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>{}</style>\n"
      "</head>\n<body>\n<h1>{}</h1>\n<p class=\"what\">{}</p>\n{}</body>\n</html>\n",
      escape(title), kStyle, escape(title), escape(what), body);
}

std::string name_of(const BenchTarget& target) {
  return fmt::format("{} at {}{}{}", target.model, target.url, target.version.empty() ? "" : ", version ",
                     target.version);
}

std::string ratio_rows(const CompareReport& report) {
  std::string html = fmt::format(
      "<h2>2 to 1, median of {} rounds (lowest to highest)</h2>\n<div class=\"scroll\"><table><tr><th></th>"
      "<th>requests/s</th><th>output tokens/s</th><th>first token p50</th><th>total p99</th></tr>\n",
      report.rounds);
  for (const ComparedLevel& level : report.levels) {
    html += fmt::format("<tr><td>{}</td>", level_name(level.first.plan));
    for (const auto* ratios :
         {&level.requests_per_second, &level.tokens_per_second, &level.first_token_p50, &level.total_p99}) {
      const Spread spread = spread_of(*ratios);
      html += ratios->empty()
                  ? "<td>-</td>"
                  : fmt::format("<td>{:.2f} ({:.2f} to {:.2f})</td>", spread.median, spread.lowest, spread.highest);
    }
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

}  // namespace

std::string report_html(const BenchReport& report) {
  if (report.levels.empty()) return page("Load test", name_of(report.target), "");
  return page("Load test", name_of(report.target) + ", " + report.date,
              charts_of(report.levels) + "<h2>Figures</h2>\n" + table_of(report.levels) + errors_of(report.levels) +
                  notes_of(report_notes(report.work, report.levels, report.target.url)));
}

std::string report_html(const CompareReport& report) {
  const std::string what = fmt::format("1: {}. 2: {}. {}", name_of(report.first), name_of(report.second), report.date);
  if (report.levels.empty()) return page("Load test of two servers", what, "");
  Levels first;
  Levels second;
  for (const ComparedLevel& level : report.levels) {
    first.push_back(level.first);
    second.push_back(level.second);
  }
  return page("Load test of two servers", what,
              compared_charts(first, second, "1", "2") + ratio_rows(report) + "<h2>1</h2>\n" + table_of(first) +
                  errors_of(first) + "<h2>2</h2>\n" + table_of(second) + errors_of(second) +
                  notes_of(report_notes(report.work, first, report.first.url)));
}

}  // namespace drover::cli
