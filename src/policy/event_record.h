// The policy's events as lines of JSON: so a day is written down, and read to be played again (src/replay). What a line
// says is when, what, and the numbers that the policy goes by. There is no prompt and no answer in it. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "policy/dispatcher.h"
#include "policy/events.h"

namespace drover {

struct RecordedEvent {
  Duration at{};      // since the record began
  Event event;        // of a LoadFailed or a RunnerGone: without its text
  std::string model;  // of an Admit: the model's name, for people
};

// The first line: under which settings the policy decided.
std::string record_head(const DispatcherConfig& config);
Result<DispatcherConfig> read_record_head(std::string_view line);

// One line, its end included.
std::string record_line(const RecordedEvent& recorded);
// Error: kInvalidArgument.
Result<RecordedEvent> read_record_line(std::string_view line);

}  // namespace drover
