// Writes the policy's events to a file, to be played again (src/replay). A file that is full, stuck or too long ends
// the recording and nothing else. I/O thread only; the file has a thread of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "policy/dispatcher.h"
#include "policy/events.h"

namespace drover {

class EventRecorder {
 public:
  struct Bounds {
    std::uint64_t file_bytes_max = 256 << 20;
    std::size_t waiting_bytes_max = 8 << 20;  // not written yet
  };
  // What people are told of a request, in place of numbers and of what is nobody's business.
  struct Names {
    std::string_view client;  // as lists and logs show it
    std::string_view model;
  };

  // `descriptor` is the recorder's to close. `say` is told once, in a sentence and on any thread, when the recording
  // ends before the server does; it must own what it uses.
  EventRecorder(int descriptor, const DispatcherConfig& config, Bounds bounds, std::function<void(std::string)> say,
                TimePoint now);
  // Has what is left written, unless the file is stuck.
  ~EventRecorder();
  EventRecorder(const EventRecorder&) = delete;
  EventRecorder& operator=(const EventRecorder&) = delete;

  // `names`: of an Admit.
  void record(const Event& event, TimePoint now, const Names& names = {});

 private:
  struct State;
  bool is_worth_a_line(const Event& event, TimePoint now);
  std::string client_of(const Arrival& arrival, const Names& names) const;
  void add(std::string line);

  const Bounds bounds_;
  const TimePoint began_;
  const std::shared_ptr<State> state_;  // shared with the thread, which may be stuck for ever
  std::string salt_;
  std::uint64_t bytes_ = 0;
  std::unordered_map<RunnerId, TimePoint> progress_;  // when a step of it was recorded last
  bool stopped_ = false;
};

// Opens the file of a record for its owner alone. One that is there is kept as PATH.old. Error: kInternal with the
// system's reason.
Result<int> open_record(const std::string& path);

}  // namespace drover
