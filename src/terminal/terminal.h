// What the CLI has to know about the terminal, and Ctrl-C.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace drover::cli {

struct TerminalSize {
  int columns = 80;
  int rows = 24;
};

bool is_terminal(int file);
// Of the terminal that `file` is; nullopt if it is none or does not say.
std::optional<TerminalSize> terminal_size(int file);

// Chooses the environment's character set, or UTF-8 where it has another: everything the CLI reads and writes is UTF-8.
void use_utf8_locale();

// Columns that the text takes on a terminal; control characters take none.
int display_width(char32_t code);
int display_width(std::string_view text);
// The longest beginning of `text` that fits into `columns`.
std::string_view clip(std::string_view text, int columns);

// Without control characters but newline and tab: what a server sends must not steer the user's terminal.
std::string printable(std::string_view text);

// While one exists, Ctrl-C (SIGINT) is noted instead of ending the program. At most one at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  // Whether Ctrl-C was pressed since the guard was made or clear() was called.
  bool interrupted() const;
  void clear();
};

}  // namespace drover::cli
