// Writes lines to a descriptor: at once as long as its reader keeps up, else from a thread of its own. A reader that is
// stuck costs lines, which are counted, and never the time of whoever has something to say.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"

namespace drover::server {

class LineWriter {
 public:
  // What may wait to be written. A line that finds no room is left out.
  struct Bounds {
    std::size_t lines_max = 16'384;
    std::size_t bytes_max = 4 << 20;
  };

  // `notice` makes the line that says how many were left out; it stands where they would have. Called on any thread,
  // one call at a time. The descriptor stays open as long as the process lives.
  LineWriter(int descriptor, Bounds bounds, std::function<std::string(std::uint64_t left_out)> notice);
  // Does not wait for what is not written yet.
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // Takes a line, its end included. Any thread; does not block. Lines are written in the order in which they came.
  void write(std::string line);
  // Waits until all is written, but not for longer than that. False: something is left.
  bool finish(Duration at_most);
  // How many lines are not written yet. May be read in a signal handler; lives as long as this.
  const std::atomic<std::size_t>& unwritten() const;

 private:
  struct State;
  const std::shared_ptr<State> state_;  // shared with the thread, which may be stuck for ever
};

}  // namespace drover::server
