#include "terminal/line_editor.h"

#include <fmt/format.h>
#include <histedit.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "base/check.h"
#include "base/utf8.h"
#include "terminal/external_editor.h"
#include "terminal/history_file.h"
#include "terminal/output.h"
#include "terminal/terminal.h"

namespace drover::cli {
namespace {

constexpr std::string_view kPasteOn = "\x1b[?2004h";
constexpr std::string_view kPasteOff = "\x1b[?2004l";
constexpr std::string_view kPasteBegin = "\x1b[200~";
constexpr std::string_view kPasteEnd = "\x1b[201~";
// How long the rest of an escape sequence may take: longer than a terminal needs, shorter than a person notices.
constexpr int kEscapeMilliseconds = 25;
constexpr int kPasteMilliseconds = 1000;

volatile sig_atomic_t resized = 0;

std::string to_utf8(std::wstring_view text) {
  std::string result;
  for (const wchar_t wide : text) append_utf8(result, static_cast<char32_t>(wide));
  return result;
}

std::wstring to_wide(std::string_view text) {
  std::wstring result;
  while (!text.empty()) {
    const Utf8Character character = first_utf8_character(text);
    result += static_cast<wchar_t>(character.code);
    text.remove_prefix(character.bytes);
  }
  return result;
}

}  // namespace

// libedit's state, and the keyboard. libedit asks read_key() for each key; so pastes arrive there in one piece, before
// libedit could take a newline within one for Enter.
class LineEditor::Editor {
 public:
  explicit Editor(const std::filesystem::path& history_file) : history_file_(history_file) {
    resize_action_.sa_handler = [](int) { resized = 1; };
    sigemptyset(&resize_action_.sa_mask);
    sigaction(SIGWINCH, &resize_action_, &old_resize_action_);
    edit_ = el_init("drover", stdin, stdout, stderr);
    history_ = history_winit();
    DROVER_CHECK(edit_ != nullptr && history_ != nullptr);
    el_wset(edit_, EL_CLIENTDATA, this);
    el_wset(edit_, EL_PROMPT, &Editor::on_prompt);
    el_wset(edit_, EL_GETCFN, &Editor::on_read_key);
    el_wset(edit_, EL_EDITOR, L"emacs");
    el_wset(edit_, EL_HIST, history_w, history_);
    HistEventW event;
    history_w(history_, &event, H_SETSIZE, static_cast<int>(kHistoryLinesMax));
    history_w(history_, &event, H_SETUNIQUE, 1);
    bind_keys();
    if (history_file_.empty()) return;
    for (const std::string& line : load_history(history_file_, kHistoryLinesMax, kHistoryBytesMax)) {
      history_w(history_, &event, H_ENTER, to_wide(line).c_str());
      last_remembered_ = line;
    }
  }

  ~Editor() {
    history_wend(history_);
    el_end(edit_);
    sigaction(SIGWINCH, &old_resize_action_, nullptr);
  }

  LineRead read_line(const std::string& prompt, const std::string& placeholder) {
    prompt_ = to_wide(prompt);
    placeholder_ = placeholder;
    interrupted_ = false;
    newline_was_pasted_ = false;
    print(kPasteOn);
    int length = 0;
    const wchar_t* line = el_wgets(edit_, &length);
    print(kPasteOff);
    LineRead result;
    if (line != nullptr && length > 0) result.text = to_utf8({line, static_cast<std::size_t>(length)});
    if (interrupted_) {
      keys_.clear();
      result.kind = LineRead::Kind::kInterrupted;
      return result;
    }
    if (line == nullptr || length <= 0) return result;
    while (!result.text.empty() && result.text.back() == '\n') result.text.pop_back();
    remember_line(result.text);
    result.kind = newline_was_pasted_ ? LineRead::Kind::kPastedLine : LineRead::Kind::kLine;
    return result;
  }

  void remember(bool on) { remember_ = on; }

 private:
  struct Key {
    wchar_t code = 0;
    bool pasted = false;
  };

  static Editor& of(EditLine* edit) {
    void* self = nullptr;
    el_wget(edit, EL_CLIENTDATA, &self);
    return *static_cast<Editor*>(self);
  }
  static wchar_t* on_prompt(EditLine* edit) { return of(edit).prompt_.data(); }
  static int on_read_key(EditLine* edit, wchar_t* key) { return of(edit).read_key(*key); }

  void bind(const wchar_t* keys, const wchar_t* command) {
    el_wset(edit_, EL_BIND, keys, command, static_cast<const wchar_t*>(nullptr));
  }

  void bind_keys() {
    // The terminal sends no signals while a line is edited, so that Ctrl-C and Ctrl-Z arrive as the keys they are.
    el_wset(edit_, EL_SETTY, L"-d", L"-isig", static_cast<const wchar_t*>(nullptr));
    el_wset(edit_, EL_ADDFN, L"drover-interrupt", L"Give up this line", &Editor::on_interrupt);
    el_wset(edit_, EL_ADDFN, L"drover-end", L"Delete a character, or leave", &Editor::on_end);
    el_wset(edit_, EL_ADDFN, L"drover-suspend", L"Stop the program", &Editor::on_suspend);
    bind(L"^C", L"drover-interrupt");
    bind(L"^D", L"drover-end");
    bind(L"^Z", L"drover-suspend");
    el_wset(edit_, EL_ADDFN, L"drover-editor", L"Edit the line in an editor", &Editor::on_editor);
    bind(L"^G", L"drover-editor");
    bind(L"^W", L"ed-delete-prev-word");
    bind(L"^U", L"vi-kill-line-prev");
    bind(L"^R", L"em-inc-search-prev");
    bind(L"\t", L"ed-insert");
    bind(L"\\e[3~", L"ed-delete-next-char");
    bind(L"\\e[1~", L"ed-move-to-beg");
    bind(L"\\e[4~", L"ed-move-to-end");
    bind(L"\\e[H", L"ed-move-to-beg");
    bind(L"\\e[F", L"ed-move-to-end");
    bind(L"\\e[1;5C", L"em-next-word");
    bind(L"\\e[1;5D", L"ed-prev-word");
    bind(L"\\e[1;3C", L"em-next-word");
    bind(L"\\e[1;3D", L"ed-prev-word");
  }

  static unsigned char on_interrupt(EditLine* edit, wint_t) {
    of(edit).interrupted_ = true;
    return CC_NEWLINE;
  }

  static unsigned char on_end(EditLine* edit, wint_t) {
    const LineInfoW* line = el_wline(edit);
    if (line->lastchar == line->buffer) return CC_EOF;
    if (line->cursor == line->lastchar) return CC_REFRESH_BEEP;
    el_cursor(edit, 1);
    el_wdeletestr(edit, 1);
    return CC_REFRESH;
  }

  static unsigned char on_suspend(EditLine* edit, wint_t) {
    el_wset(edit, EL_PREP_TERM, 0);
    print(fmt::format("{}\n", kPasteOff));
    raise(SIGTSTP);
    print(kPasteOn);
    el_wset(edit, EL_PREP_TERM, 1);
    return CC_REDISPLAY;
  }

  // What comes back is taken as a paste is: its newlines are text.
  static unsigned char on_editor(EditLine* edit, wint_t) {
    Editor& self = of(edit);
    const LineInfoW* line = el_wline(edit);
    const std::string before = to_utf8({line->buffer, static_cast<std::size_t>(line->lastchar - line->buffer)});
    el_wset(edit, EL_PREP_TERM, 0);
    print(kPasteOff);
    const Result<std::string> edited = edit_text(before);
    print(kPasteOn);
    el_wset(edit, EL_PREP_TERM, 1);
    if (!edited.ok()) {
      print("\n");
      print_error(edited.error());
      return CC_REDISPLAY;
    }
    line = el_wline(edit);
    el_cursor(edit, static_cast<int>(line->lastchar - line->cursor));
    el_wdeletestr(edit, static_cast<int>(line->lastchar - line->buffer));
    std::deque<Key> keys;
    for (const wchar_t code : to_wide(printable(*edited))) keys.push_back({code, true});
    self.keys_.insert(self.keys_.begin(), keys.begin(), keys.end());
    return CC_REDISPLAY;
  }

  // Returns 1 and the next key, 0 at the end of the input, -1 on failure: as libedit wants it.
  int read_key(wchar_t& key) {
    if (keys_.empty()) {
      const bool placeholder_shown = show_placeholder();
      const bool read = read_keys();
      if (placeholder_shown) print("\x1b[K");
      if (!read) return 0;
    }
    key = keys_.front().code;
    if (key == L'\n' || key == L'\r') newline_was_pasted_ = keys_.front().pasted;
    keys_.pop_front();
    return 1;
  }

  // The cursor stays where libedit thinks it is.
  bool show_placeholder() const {
    const LineInfoW* line = el_wline(edit_);
    if (placeholder_.empty() || line->lastchar != line->buffer) return false;
    const int columns = terminal_size(STDOUT_FILENO).value_or(TerminalSize{}).columns;
    const int room = columns - static_cast<int>(prompt_.size()) - 1;
    const std::string_view text = clip(placeholder_, std::max(room, 0));
    if (text.empty()) return false;
    print(fmt::format("\x1b[38;5;245m{}\x1b[0m\x1b[{}D", text, display_width(text)));
    return true;
  }

  // Draws the line anew after the terminal has changed its size. libedit begins where the cursor is, so the cursor goes
  // back to the prompt first: by as many rows as the text in front of it takes at the new width.
  void redraw() {
    const int columns = terminal_size(STDOUT_FILENO).value_or(TerminalSize{}).columns;
    const LineInfoW* line = el_wline(edit_);
    const std::wstring_view typed(line->buffer, static_cast<std::size_t>(line->cursor - line->buffer));
    const int rows = display_width(to_utf8(prompt_) + to_utf8(typed)) / columns;
    if (rows > 0) print(fmt::format("\x1b[{}A", rows));
    print("\r\x1b[J");
    el_resize(edit_);
    el_wset(edit_, EL_REFRESH);
    show_placeholder();
  }

  // Waits for input and turns it into at least one key. False: there is no more.
  bool read_keys() {
    std::string bytes;
    if (!read_more(bytes, -1)) return false;
    while (!bytes.empty()) {
      if (kPasteBegin.starts_with(bytes.substr(0, kPasteBegin.size())) && bytes.size() < kPasteBegin.size() &&
          read_more(bytes, kEscapeMilliseconds)) {
        continue;
      }
      if (bytes.starts_with(kPasteBegin)) {
        bytes.erase(0, kPasteBegin.size());
        take_paste(bytes);
        continue;
      }
      if (incomplete_utf8_bytes(bytes) == bytes.size() && read_more(bytes, kPasteMilliseconds)) continue;
      const Utf8Character character = first_utf8_character(bytes);
      keys_.push_back({static_cast<wchar_t>(character.code), false});
      bytes.erase(0, character.bytes);
    }
    return true;
  }

  // Takes `bytes` up to the end of the paste, and what else the terminal still has to send of it. Only newlines and
  // tabs remain of its control characters: a paste is text, never keys.
  void take_paste(std::string& bytes) {
    std::string text;
    std::size_t end = std::string::npos;
    while ((end = bytes.find(kPasteEnd)) == std::string::npos) {
      if (!read_more(bytes, kPasteMilliseconds)) break;
      const std::size_t sure = bytes.size() - std::min(bytes.size(), kPasteEnd.size());
      if (text.size() < kPasteBytesMax) text += bytes.substr(0, sure);
      bytes.erase(0, sure);
    }
    text += bytes.substr(0, end);
    bytes.erase(0, end == std::string::npos ? end : end + kPasteEnd.size());
    std::replace(text.begin(), text.end(), '\r', '\n');
    for (const wchar_t code : to_wide(printable(text))) keys_.push_back({code, true});
  }

  // Appends what has arrived, after waiting for up to `milliseconds` (-1: for as long as it takes).
  bool read_more(std::string& bytes, int milliseconds) {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    for (;;) {
      const int ready = poll(&input, 1, milliseconds);
      if (ready == 0) return false;
      if (ready < 0 && errno != EINTR) return false;
      if (resized != 0) {
        resized = 0;
        redraw();
      }
      if (ready < 0) continue;
      char buffer[4096];
      const ssize_t count = read(STDIN_FILENO, buffer, sizeof(buffer));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return false;
      bytes.append(buffer, static_cast<std::size_t>(count));
      return true;
    }
  }

  void remember_line(const std::string& line) {
    if (!remember_ || line.empty() || line == last_remembered_ || line.size() > kHistoryLineBytesMax) return;
    HistEventW event;
    history_w(history_, &event, H_ENTER, to_wide(line).c_str());
    last_remembered_ = line;
    if (!history_file_.empty()) append_history(history_file_, line);
  }

  std::filesystem::path history_file_;
  EditLine* edit_ = nullptr;
  HistoryW* history_ = nullptr;
  struct sigaction resize_action_ {};
  struct sigaction old_resize_action_ {};
  std::wstring prompt_;
  std::string placeholder_;
  std::deque<Key> keys_;  // read from the terminal, not yet asked for by libedit
  std::string last_remembered_;
  bool remember_ = true;
  bool interrupted_ = false;
  bool newline_was_pasted_ = false;
};

LineEditor::LineEditor(const std::filesystem::path& history_file) : editor_(std::make_unique<Editor>(history_file)) {}

LineEditor::~LineEditor() = default;

LineRead LineEditor::read_line(const std::string& prompt, const std::string& placeholder) {
  return editor_->read_line(prompt, placeholder);
}

void LineEditor::remember(bool on) {
  editor_->remember(on);
}

}  // namespace drover::cli
