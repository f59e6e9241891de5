#include "terminal/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "terminal/format.h"
#include "terminal/terminal.h"

namespace drover::cli {
namespace {

constexpr std::chrono::milliseconds kRedrawInterval(100);
constexpr std::array<std::string_view, 10> kFrames = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};

// Time to go in at most six columns: "59m59s", "12h03m", "99h+".
std::string short_duration(std::uint64_t seconds) {
  if (seconds >= 100 * 3600) return "99h+";
  if (seconds >= 3600) return fmt::format("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
  if (seconds >= 60) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
  return fmt::format("{}s", seconds);
}

std::string repeat(std::string_view text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

// Sizes, rate and time to go, always equally wide so that bars below one another line up.
std::string bar_suffix(const BarState& bar, std::chrono::milliseconds elapsed) {
  constexpr int kSizesWidth = 13;
  constexpr int kRateWidth = 10;
  constexpr int kRemainingWidth = 8;
  const bool moving = bar.completed < bar.total;
  const auto milliseconds = static_cast<double>(std::max<std::int64_t>(elapsed.count(), 1));
  const double rate = static_cast<double>(bar.completed - std::min(bar.initial, bar.completed)) * 1000 / milliseconds;
  const std::string total = human_bytes(bar.total);
  const std::string sizes =
      moving ? fmt::format("{:>6}/{:>6}", human_bytes(bar.completed), total) : fmt::format("{:>6}", total);
  std::string rate_text;
  std::string remaining_text;
  if (moving && rate >= 1) {
    rate_text = fmt::format("  {:>6}/s", human_bytes(static_cast<std::uint64_t>(rate)));
    const double seconds = std::min(static_cast<double>(bar.total - bar.completed) / rate, 1e9);
    remaining_text = fmt::format("  {:>6}", short_duration(static_cast<std::uint64_t>(seconds)));
  }
  return fmt::format("{:<{}}{:<{}}{:<{}}", sizes, kSizesWidth, rate_text, kRateWidth, remaining_text, kRemainingWidth);
}

}  // namespace

std::string format_bar(const BarState& bar, std::chrono::milliseconds elapsed, int columns) {
  constexpr int kFrameWidth = 4;  // the two ends of the bar and the spaces beside them
  const double part = bar.total == 0 ? 1 : static_cast<double>(std::min(bar.completed, bar.total)) / bar.total;
  const std::string prefix = fmt::format("{} {:3.0f}%", bar.message, std::floor(part * 100));
  const std::string suffix = bar_suffix(bar, elapsed);
  const int room = columns - display_width(prefix) - display_width(suffix) - kFrameWidth;
  if (room < 1) return prefix;
  const int filled = static_cast<int>(room * part);
  return prefix + " ▕" + repeat("█", filled) + std::string(static_cast<std::size_t>(room - filled), ' ') + "▏ " +
         suffix;
}

Progress::Progress(int file) : file_(file), terminal_(is_terminal(file)) {}

Progress::~Progress() {
  finish();
}

void Progress::status(const std::string& text) {
  const std::string message = printable(text);
  if (Line* last = spinner(); last != nullptr && last->running && last->bar.message == message) return;
  stop_spinner();
  Line& line = lines_.emplace_back();
  line.bar.message = message;
  line.started = Clock::now();
  if (!terminal_ && !message.empty()) write(message + "\n");
}

void Progress::update_status(const std::string& text) {
  if (Line* line = spinner()) line->bar.message = printable(text);
}

void Progress::bar(const std::string& key, const std::string& message, std::uint64_t completed, std::uint64_t total) {
  auto found = std::find_if(lines_.begin(), lines_.end(),
                            [&](const Line& line) { return line.kind == Kind::kBar && line.key == key; });
  if (found == lines_.end()) {
    stop_spinner();
    Line line;
    line.kind = Kind::kBar;
    line.key = key;
    line.bar = {printable(message), completed, completed, total};
    line.started = Clock::now();
    found = lines_.insert(lines_.end(), std::move(line));
    if (!terminal_) write(found->bar.message + "\n");
  }
  found->bar.completed = completed;
  found->bar.total = total;
  tick();
}

void Progress::tick() {
  if (!terminal_ || lines_.empty()) return;
  const auto now = Clock::now();
  if (now < next_draw_) return;
  next_draw_ = now + kRedrawInterval;
  ++frame_;
  draw();
}

void Progress::finish() {
  stop_spinner();
  if (terminal_ && !lines_.empty()) {
    draw();
    write("\n");
  }
  lines_.clear();
  lines_drawn_ = 0;
}

void Progress::clear() {
  if (lines_drawn_ > 0) {
    std::string text = "\r\x1b[2K";
    for (std::size_t i = 1; i < lines_drawn_; ++i) text += "\x1b[A\x1b[2K";
    write(text);
  }
  lines_.clear();
  lines_drawn_ = 0;
}

Progress::Line* Progress::spinner() {
  const auto found =
      std::find_if(lines_.rbegin(), lines_.rend(), [](const Line& line) { return line.kind == Kind::kSpinner; });
  return found == lines_.rend() ? nullptr : &*found;
}

void Progress::stop_spinner() {
  if (Line* line = spinner()) line->running = false;
}

// Every line is cut to the terminal's width: one that wrapped would take two rows, and the way back up would be wrong.
void Progress::draw() {
  const TerminalSize size = terminal_size(file_).value_or(TerminalSize{});
  const std::size_t shown = std::min(lines_.size(), static_cast<std::size_t>(size.rows));
  std::string text;
  const std::size_t rows_up = std::min(lines_drawn_, static_cast<std::size_t>(size.rows));
  for (std::size_t i = 1; i < rows_up; ++i) text += "\x1b[A";
  text += "\r";
  for (std::size_t i = lines_.size() - shown; i < lines_.size(); ++i) {
    text += clip(text_of(lines_[i], size.columns), size.columns - 1);
    text += "\x1b[K";
    if (i + 1 < lines_.size()) text += "\n";
  }
  write(text);
  lines_drawn_ = shown;
}

std::string Progress::text_of(const Line& line, int columns) const {
  if (line.kind == Kind::kBar) {
    const auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - line.started);
    return format_bar(line.bar, elapsed, columns - 1);
  }
  if (!line.running) return line.bar.message;
  const std::string frame(kFrames[frame_ % kFrames.size()]);
  return line.bar.message.empty() ? frame : line.bar.message + " " + frame;
}

void Progress::write(std::string_view text) const {
  while (!text.empty()) {
    const ssize_t written = ::write(file_, text.data(), text.size());
    if (written <= 0) return;  // Progress is a courtesy: what cannot be shown is not shown.
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace drover::cli
