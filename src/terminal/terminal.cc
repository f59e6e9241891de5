#include "terminal/terminal.h"

#include <langinfo.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <clocale>
#include <cstring>
#include <cwchar>

#include "base/check.h"
#include "base/utf8.h"

namespace drover::cli {
namespace {

// Set by a signal handler, so it can be nothing richer.
volatile sig_atomic_t interrupt_seen = 0;
bool guard_exists = false;
struct sigaction action_before_guard;

bool is_control(char32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

}  // namespace

bool is_terminal(int file) {
  return isatty(file) == 1;
}

std::optional<TerminalSize> terminal_size(int file) {
  winsize size{};
  if (ioctl(file, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return std::nullopt;
  return TerminalSize{size.ws_col, size.ws_row};
}

void use_utf8_locale() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

int display_width(char32_t code) {
  if (is_control(code)) return 0;
  const int width = wcwidth(static_cast<wchar_t>(code));
  return width < 0 ? 1 : width;
}

int display_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    const Utf8Character character = first_utf8_character(text);
    width += display_width(character.code);
    text.remove_prefix(character.bytes);
  }
  return width;
}

std::string_view clip(std::string_view text, int columns) {
  int width = 0;
  std::size_t end = 0;
  while (end < text.size()) {
    const Utf8Character character = first_utf8_character(text.substr(end));
    width += display_width(character.code);
    if (width > columns) break;
    end += character.bytes;
  }
  return text.substr(0, end);
}

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const Utf8Character character = first_utf8_character(text);
    if (!is_control(character.code) || character.code == '\n' || character.code == '\t') {
      result += text.substr(0, character.bytes);
    }
    text.remove_prefix(character.bytes);
  }
  return result;
}

InterruptGuard::InterruptGuard() {
  DROVER_CHECK(!guard_exists);
  guard_exists = true;
  interrupt_seen = 0;
  struct sigaction action {};
  action.sa_handler = [](int) { interrupt_seen = 1; };
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &action_before_guard);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &action_before_guard, nullptr);
  guard_exists = false;
}

bool InterruptGuard::interrupted() const {
  return interrupt_seen != 0;
}

void InterruptGuard::clear() {
  interrupt_seen = 0;
}

}  // namespace drover::cli
