// Reads lines from the user at a terminal, with editing and history. The only file that knows libedit.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace drover::cli {

inline constexpr std::size_t kPasteBytesMax = 4u << 20;     // of one paste; what is beyond is dropped
inline constexpr std::size_t kHistoryLinesMax = 1000;       // kept in the file and offered
inline constexpr std::size_t kHistoryBytesMax = 16u << 20;  // of the file that are read
inline constexpr std::size_t kHistoryLineBytesMax = 65536;  // longer lines are not remembered

struct LineRead {
  enum class Kind {
    kLine,         // Enter was pressed
    kPastedLine,   // a line within a paste: more follows
    kInterrupted,  // Ctrl-C
    kEnd,          // Ctrl-D on an empty line, or the terminal is gone
  };
  Kind kind = Kind::kEnd;
  std::string text;  // UTF-8; what was typed up to then for kInterrupted
};

// Owns the terminal's mode while read_line() runs; otherwise the terminal is as it was. Used by one thread, on the
// program's standard input and output. At most one at a time.
class LineEditor {
 public:
  // `history_file` holds one line per entry, as Ollama's does, and is shared by all that run at the same time: each
  // appends what it reads. Empty: there is none. A file that cannot be read or written is no error.
  explicit LineEditor(const std::filesystem::path& history_file);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // Shows `prompt`, and in grey behind it, for as long as nothing is typed, `placeholder`.
  LineRead read_line(const std::string& prompt, const std::string& placeholder);

  // Whether lines are remembered from now on.
  void remember(bool on);

 private:
  class Editor;
  std::unique_ptr<Editor> editor_;
};

}  // namespace drover::cli
