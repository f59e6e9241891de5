// A recorded day as it was written by DROVER_RECORD.
#pragma once

#include <istream>
#include <vector>

#include "base/result.h"
#include "policy/event_record.h"

namespace drover {

struct Recording {
  DispatcherConfig config;
  std::vector<RecordedEvent> events;  // in the order of time
  bool cut = false;                   // its last line is not whole
};

// When the day began on the clock of its replay.
inline constexpr TimePoint kDayBegins{std::chrono::hours(1)};

// Error: kInvalidArgument, with the number of the line.
Result<Recording> read_recording(std::istream& file);

}  // namespace drover
