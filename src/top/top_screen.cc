#include "top/top_screen.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace drover::cli {
namespace {

constexpr std::string_view kKeys = "↑↓ select   c cancel request   s stop model   ? help   q quit";
constexpr std::array<std::string_view, 16> kHelp = {
    "↑ ↓ k j      select a model or a request (PgUp, PgDn, Home, End too)",
    "c            cancel the selected request; asks first",
    "s            stop the selected model, or that of the request; asks first",
    "space        update now",
    "?            this text",
    "q  Ctrl-C    quit",
    "",
    "SLOTS        running requests, of as many as run at once; EMBEDS: for embeddings",
    "KV           how much of the model's context memory is in use",
    "UNTIL        when the model is unloaded, if no request comes",
    "PHASE        queued, loading (its model), prefill (its prompt), generating",
    "POS  WAIT    position in the queue, and the estimated wait",
    "AGE          time since the request arrived",
    "TOKENS       of the prompt + of the answer so far",
    "",
    "Press any key to go back."};

std::string clean(std::string_view text) {
  std::string result = printable(text);
  std::replace_if(
      result.begin(), result.end(), [](char character) { return character == '\n' || character == '\t'; }, ' ');
  return result;
}

enum class Align { kLeft, kRight };

// Exactly `columns` wide; what is too long is cut, with an ellipsis.
std::string cell(std::string_view text, int columns, Align align) {
  std::string shown = clean(text);
  if (display_width(shown) > columns)
    shown = columns < 2 ? std::string(clip(shown, columns)) : std::string(clip(shown, columns - 1)) + "…";
  const std::string padding(static_cast<std::size_t>(std::max(0, columns - display_width(shown))), ' ');
  return align == Align::kLeft ? shown + padding : padding + shown;
}

struct Column {
  std::string_view head;
  int columns;  // 0: it takes what the others leave, and shares that with others of the kind
  Align align;
  int from_width;  // shown on screens that are as wide as this
};

using Cells = std::vector<std::string>;

// One line of a table. The columns that are flexible share the space that is left.
std::string table_line(const std::vector<Column>& columns, const Cells& cells, int width) {
  int fixed = 0;
  int flexible = 0;
  for (const Column& column : columns) {
    if (width < column.from_width) continue;
    fixed += column.columns + 1;
    if (column.columns == 0) ++flexible;
  }
  int left = std::max(0, width - fixed);
  std::string line;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (width < columns[i].from_width) continue;
    int own = columns[i].columns;
    if (own == 0) {
      own = left / flexible;
      left -= own;
      --flexible;
    }
    line += cell(cells[i], own, columns[i].align) + ' ';
  }
  return line;
}

Cells heads_of(const std::vector<Column>& columns) {
  Cells heads;
  for (const Column& column : columns) heads.emplace_back(column.head);
  return heads;
}

constexpr int kNeverShown = 1 << 20;  // no screen is so wide

// The column for embeddings is there while a model makes some.
std::vector<Column> model_columns(const TopState& state) {
  const bool embeds = std::any_of(state.models.begin(), state.models.end(),
                                  [](const TopModel& model) { return model.embed_slots.has_value(); });
  return {{"MODEL", 0, Align::kLeft, 0},     {"STATE", 9, Align::kLeft, 40},
          {"SLOTS", 7, Align::kRight, 0},    {"EMBEDS", 7, Align::kRight, embeds ? 50 : kNeverShown},
          {"WAITING", 7, Align::kRight, 0},  {"TOKENS/S", 8, Align::kRight, 50},
          {"KV", 4, Align::kRight, 100},     {"MEMORY", 7, Align::kRight, 60},
          {"ON GPU", 7, Align::kRight, 100}, {"UNTIL", 7, Align::kRight, 60}};
}

const std::vector<Column>& request_columns() {
  static const std::vector<Column> kColumns = {
      {"REQUEST", 10, Align::kLeft, 0}, {"MODEL", 0, Align::kLeft, 50},     {"CLIENT", 0, Align::kLeft, 60},
      {"PHASE", 10, Align::kLeft, 0},   {"PRIORITY", 8, Align::kLeft, 120}, {"POS", 4, Align::kRight, 0},
      {"AGE", 6, Align::kRight, 0},     {"WAIT", 6, Align::kRight, 70},     {"TOKENS", 10, Align::kRight, 0}};
  return kColumns;
}

std::string count_text(const std::optional<std::uint64_t>& count) {
  return count ? std::to_string(*count) : "-";
}

// "850ms", "12s", "4m58s", "3h07m", "12d".
std::string short_duration(std::chrono::nanoseconds duration) {
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  if (milliseconds < 1000) return fmt::format("{}ms", milliseconds);
  const auto seconds = milliseconds / 1000;
  if (seconds < 10) return fmt::format("{:.1f}s", static_cast<double>(milliseconds / 100) / 10);
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
  if (seconds < 24 * 3600) return fmt::format("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{}d", seconds / 24 / 3600);
}

std::string until_text(const TopModel& model, Timestamp now) {
  if (model.running.value_or(0) + model.embed_running.value_or(0) > 0) return "in use";
  if (!model.expires) return "-";
  const auto left = *model.expires - now;
  if (left > std::chrono::hours(24 * 365 * 20)) return "forever";
  if (left <= std::chrono::milliseconds(0)) return "now";
  return short_duration(left);
}

std::string state_text(const TopModel& model) {
  if (model.state == "loading" && model.load_fraction) return fmt::format("load {:.0f}%", *model.load_fraction * 100);
  return model.state.empty() ? "-" : model.state;
}

std::string rate_text(double rate) {
  return rate < 100 ? fmt::format("{:.1f}", rate) : fmt::format("{:.0f}", rate);
}

std::string slots_text(const std::optional<std::uint64_t>& running, const std::optional<std::uint64_t>& slots) {
  return running && slots ? fmt::format("{}/{}", *running, *slots) : count_text(running);
}

Cells model_cells(const TopModel& model, Timestamp now) {
  return {model.name,
          state_text(model),
          slots_text(model.running, model.slots),
          slots_text(model.embed_running, model.embed_slots),
          count_text(model.waiting),
          model.tokens_per_second ? rate_text(*model.tokens_per_second) : "-",
          model.cells_used ? fmt::format("{:.0f}%", *model.cells_used * 100) : "-",
          human_bytes(model.memory),
          human_bytes(model.device_memory),
          until_text(model, now)};
}

Cells request_cells(const TopRequest& request) {
  return {request.id,
          request.model,
          request.client,
          request.phase,
          request.priority,
          request.position ? count_text(request.position) : "",
          short_duration(request.age),
          request.estimated_wait ? short_duration(*request.estimated_wait) : "",
          fmt::format("{}+{}", request.prompt_tokens, request.output_tokens)};
}

std::string machine_text(const TopMachine& machine) {
  std::string text = fmt::format(" CPU {} of {} cores   memory {} of {}",
                                 machine.cpu_percent ? fmt::format("{:.0f}%", *machine.cpu_percent) : "-",
                                 machine.cores, human_bytes(machine.memory_used), human_bytes(machine.memory_total));
  for (std::size_t i = 0; i < machine.gpus.size(); ++i) {
    const TopGpu& gpu = machine.gpus[i];
    const std::string number = machine.gpus.size() > 1 ? fmt::format(" {}", i) : "";
    text += fmt::format("   GPU{} {} {} of {}", number, gpu.use_percent ? fmt::format("{}%", *gpu.use_percent) : "-",
                        human_bytes(gpu.memory_used), human_bytes(gpu.memory_total));
  }
  return text;
}

// What the server does not tell, in one line; empty if it tells everything.
std::string missing_text(const TopState& state) {
  if (!state.problem.empty() || state.version.empty()) return "";
  std::string missing;
  if (!state.has_queue) missing = "requests (no /api/queue)";
  if (!state.has_rates) missing += std::string(missing.empty() ? "" : ", ") + "tokens/s (no /metrics)";
  return missing.empty() ? "" : " This server does not tell: " + missing;
}

std::string requests_title(const TopState& state) {
  const auto waiting = std::count_if(state.requests.begin(), state.requests.end(),
                                     [](const TopRequest& request) { return request.position.has_value(); });
  std::string text =
      fmt::format(" {} running, {} waiting", state.requests.size() - static_cast<std::size_t>(waiting), waiting);
  if (state.requests_left_out > 0) text += fmt::format(", {} more not listed", state.requests_left_out);
  return text;
}

// Collects the lines of a screen, each cut to its width.
class Page {
 public:
  explicit Page(TerminalSize size) : size_(size) {}
  int left() const { return size_.rows - static_cast<int>(lines_.size()); }
  void add(LineStyle style, std::string_view text) {
    if (left() > 0) lines_.push_back({style, std::string(clip(clean(text), size_.columns))});
  }
  void fill_up_to_last() {
    while (left() > 1) add(LineStyle::kPlain, "");
  }
  std::vector<ScreenLine> take() { return std::move(lines_); }

 private:
  TerminalSize size_;
  std::vector<ScreenLine> lines_;
};

// Which of `all` rows to show in `room` lines so that `selected` is among them.
std::size_t first_shown(std::size_t all, std::size_t room, std::size_t selected) {
  if (all <= room) return 0;
  const std::size_t before = room / 2;
  return std::min(selected > before ? selected - before : 0, all - room);
}

template <typename Rows, typename TextOf, typename IsSelected>
void add_rows(Page& page, const Rows& rows, std::size_t room, TextOf text_of, IsSelected is_selected) {
  const auto found = std::find_if(rows.begin(), rows.end(), is_selected);
  const std::size_t selected = found == rows.end() ? 0 : static_cast<std::size_t>(found - rows.begin());
  const std::size_t first = first_shown(rows.size(), room, selected);
  for (std::size_t i = first; i < rows.size() && i < first + room; ++i) {
    page.add(is_selected(rows[i]) ? LineStyle::kSelected : LineStyle::kPlain, text_of(rows[i]));
  }
}

void add_body(Page& page, const TopState& state, const TopCursor& cursor, int width, Timestamp now) {
  // The last line is for the keys. Models leave requests at least half of what there is.
  const int room = page.left() - 1;
  const std::string missing = missing_text(state);
  const int notes = (missing.empty() ? 0 : 1) + (state.advice.empty() ? 0 : 1) + (state.has_queue ? 1 : 0);
  const int fixed = 1 + 1 + notes;  // heads
  const int rows = std::max(0, room - fixed);
  const int requests = static_cast<int>(std::min<std::size_t>(state.requests.size(), kTopRowsMax));
  const int for_models = std::max(rows - requests, (rows + 1) / 2);
  const std::vector<Column> columns = model_columns(state);
  page.add(LineStyle::kHead, table_line(columns, heads_of(columns), width));
  if (state.models.empty() && rows > 0) page.add(LineStyle::kFaint, " No model is in memory.");
  add_rows(
      page, state.models, static_cast<std::size_t>(for_models),
      [&](const TopModel& model) { return table_line(columns, model_cells(model, now), width); },
      [&](const TopModel& model) {
        return cursor.selected == TopRow{TopRow::Kind::kModel, model.name};
      });
  if (!missing.empty()) page.add(LineStyle::kFaint, missing);
  if (!state.has_queue) return;
  if (page.left() > 3) page.add(LineStyle::kFaint, requests_title(state));
  if (page.left() > 3 && !state.advice.empty()) page.add(LineStyle::kHead, " " + state.advice);
  if (page.left() > 2) page.add(LineStyle::kHead, table_line(request_columns(), heads_of(request_columns()), width));
  add_rows(
      page, state.requests, static_cast<std::size_t>(std::max(0, page.left() - 1)),
      [&](const TopRequest& request) { return table_line(request_columns(), request_cells(request), width); },
      [&](const TopRequest& request) {
        return cursor.selected == TopRow{TopRow::Kind::kRequest, request.id};
      });
}

std::string_view code_of(LineStyle style) {
  switch (style) {
    case LineStyle::kPlain:
      return "";
    case LineStyle::kBar:
    case LineStyle::kSelected:
      return "\x1b[7m";
    case LineStyle::kHead:
      return "\x1b[1m";
    case LineStyle::kFaint:
      return "\x1b[2m";
    case LineStyle::kAlert:
      return "\x1b[1;31m";
  }
  return "";
}

}  // namespace

std::vector<TopRow> rows_of(const TopState& state) {
  std::vector<TopRow> rows;
  for (const TopModel& model : state.models) rows.push_back({TopRow::Kind::kModel, model.name});
  for (const TopRequest& request : state.requests) rows.push_back({TopRow::Kind::kRequest, request.id});
  return rows;
}

void keep_selection(const TopState& state, TopCursor& cursor) {
  const std::vector<TopRow> rows = rows_of(state);
  if (rows.empty()) {
    cursor.selected = {};
    cursor.index = 0;
    return;
  }
  const auto found = std::find(rows.begin(), rows.end(), cursor.selected);
  cursor.index =
      found == rows.end() ? std::min(cursor.index, rows.size() - 1) : static_cast<std::size_t>(found - rows.begin());
  cursor.selected = rows[cursor.index];
}

void move_selection(const TopState& state, TopCursor& cursor, int rows) {
  const std::vector<TopRow> all = rows_of(state);
  if (all.empty()) return;
  const auto wanted = static_cast<std::int64_t>(cursor.index) + rows;
  cursor.index =
      static_cast<std::size_t>(std::clamp<std::int64_t>(wanted, 0, static_cast<std::int64_t>(all.size()) - 1));
  cursor.selected = all[cursor.index];
}

std::vector<ScreenLine> draw_top(const TopState& state, const TopCursor& cursor, TerminalSize size, Timestamp now) {
  Page page(size);
  const std::string version = state.version.empty() ? "" : fmt::format("version {} ", state.version);
  const int left_columns = std::max(0, size.columns - display_width(version));
  page.add(LineStyle::kBar, cell(" drover top   " + state.url, left_columns, Align::kLeft) + version);
  if (!state.problem.empty()) page.add(LineStyle::kAlert, " " + state.problem);
  if (cursor.help) {
    for (const std::string_view line : kHelp) page.add(LineStyle::kPlain, line.empty() ? "" : " " + std::string(line));
    return page.take();
  }
  // On a low screen the rows are worth more than the machine's line.
  if (state.machine && size.rows >= 10) page.add(LineStyle::kPlain, machine_text(*state.machine));
  if (size.rows >= 16) page.add(LineStyle::kPlain, "");
  if (size.rows >= 4) add_body(page, state, cursor, size.columns, now);
  page.fill_up_to_last();
  if (!cursor.question.empty()) {
    page.add(LineStyle::kAlert, " " + cursor.question + " (y/n)");
  } else if (!cursor.message.empty()) {
    page.add(LineStyle::kHead, " " + cursor.message);
  } else {
    page.add(LineStyle::kFaint, " " + std::string(kKeys));
  }
  return page.take();
}

std::string screen_codes(const std::vector<ScreenLine>& lines, TerminalSize size) {
  std::string codes = "\x1b[H";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) codes += "\r\n";
    const ScreenLine& line = lines[i];
    codes += code_of(line.style);
    codes += line.text;
    if (line.style == LineStyle::kBar || line.style == LineStyle::kSelected) {
      codes.append(static_cast<std::size_t>(std::max(0, size.columns - display_width(line.text))), ' ');
    }
    // What was there before is cleared to the line's end. A line that is full has none: clearing would take its last
    // character.
    codes += "\x1b[0m";
    if (display_width(line.text) < size.columns && line.style != LineStyle::kBar &&
        line.style != LineStyle::kSelected) {
      codes += "\x1b[K";
    }
  }
  if (static_cast<int>(lines.size()) < size.rows) codes += "\r\n\x1b[J";
  return codes;
}

}  // namespace drover::cli
