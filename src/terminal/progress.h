// Shows on a terminal what takes time: spinners and progress bars, one a line, redrawn in place.
//
// Draws only when told to, so it needs no thread: whoever waits calls tick() while it waits. Where the output is no
// terminal, each new status becomes one plain line, and bars and spinners are not drawn at all.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace drover::cli {

// One bar as text, `columns` wide: message, percentage, bar, sizes, and while it is moving its rate and time to go.
// `elapsed` is the time since the bar began at `initial` bytes.
struct BarState {
  std::string message;
  std::uint64_t initial = 0;    // bytes
  std::uint64_t completed = 0;  // bytes
  std::uint64_t total = 0;      // bytes
};
std::string format_bar(const BarState& bar, std::chrono::milliseconds elapsed, int columns);

// Used by one thread. Writes to `file`, which stays open and is not owned.
class Progress {
 public:
  explicit Progress(int file);
  ~Progress();  // as finish()
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Shows `text` with a spinner, below what was there; the spinner before it stops. The same text again does nothing.
  // An empty text is a spinner alone.
  void status(const std::string& text);
  // Changes the text of the last status in place.
  void update_status(const std::string& text);
  // Shows or moves the bar called `key`; its message is that of the first call. Bytes.
  void bar(const std::string& key, const std::string& message, std::uint64_t completed, std::uint64_t total);
  // Redraws if it is time to. Cheap: call it whenever there is a chance to.
  void tick();
  // Leaves what is shown and moves below it. Later calls begin anew.
  void finish();
  // Removes what is shown. Later calls begin anew.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  enum class Kind { kSpinner, kBar };
  struct Line {
    Kind kind = Kind::kSpinner;
    std::string key;
    BarState bar;  // A spinner uses its message only.
    Clock::time_point started;
    bool running = true;
  };

  Line* spinner();
  void stop_spinner();
  void draw();
  std::string text_of(const Line& line, int columns) const;
  void write(std::string_view text) const;

  int file_;
  bool terminal_;
  std::vector<Line> lines_;
  std::size_t lines_drawn_ = 0;
  std::size_t frame_ = 0;
  Clock::time_point next_draw_;
};

}  // namespace drover::cli
