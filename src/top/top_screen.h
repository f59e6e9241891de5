// How `drover top` looks, and which row is selected. Pure: a state and a size make lines.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "terminal/terminal.h"
#include "top/top_state.h"

namespace drover::cli {

enum class LineStyle { kPlain, kBar, kHead, kSelected, kFaint, kAlert };

struct ScreenLine {
  LineStyle style = LineStyle::kPlain;
  std::string text;  // not wider than the screen, without control characters
};

// A model, or a request. Stays with it when others come and go.
struct TopRow {
  enum class Kind { kNone, kModel, kRequest };
  Kind kind = Kind::kNone;
  std::string id;  // the model's name, or the request's id
  bool operator==(const TopRow&) const = default;
};

// What the user has done to the screen.
struct TopCursor {
  TopRow selected;
  std::size_t index = 0;  // of what is selected, among all rows
  bool help = false;
  std::string question;  // shown in the last line, as a message is
  std::string message;
};

// Models first, then requests, from top to bottom.
std::vector<TopRow> rows_of(const TopState& state);
// Keeps the selection on its row; where that is gone, on the one that took its place.
void keep_selection(const TopState& state, TopCursor& cursor);
// So many rows down, or up if negative; stops at the ends.
void move_selection(const TopState& state, TopCursor& cursor, int rows);

// At most size.rows lines. The more important ones are there on a small screen too.
std::vector<ScreenLine> draw_top(const TopState& state, const TopCursor& cursor, TerminalSize size, Timestamp now);

// Those lines as a terminal takes them, from its top left corner on.
std::string screen_codes(const std::vector<ScreenLine>& lines, TerminalSize size);

}  // namespace drover::cli
