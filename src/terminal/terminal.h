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

// One character of UTF-8 text: the code point, and how many bytes it takes. Bytes that are no UTF-8 count one by one,
// as U+FFFD. `text` must not be empty.
struct Utf8Character {
  char32_t code = 0;
  std::size_t bytes = 0;
};
Utf8Character first_utf8_character(std::string_view text);
// How many bytes at the end of `text` are the beginning of a character whose rest is missing: 0 to 3.
std::size_t incomplete_utf8_bytes(std::string_view text);

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
