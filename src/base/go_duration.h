// Durations as Go writes them ("1h30m", "250ms"), which is how Ollama's settings and requests write them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drover {

// Parses Go's time.ParseDuration syntax: a sign, then numbers with a unit each (ns us µs ms s m h), or a bare "0".
// Saturates at the range of std::chrono::nanoseconds. Error: kInvalidArgument with Go's own text.
Result<std::chrono::nanoseconds> parse_go_duration(std::string_view text);

// As parse_go_duration, but a bare number counts as seconds (as OLLAMA_KEEP_ALIVE and its kin take it).
Result<std::chrono::nanoseconds> parse_seconds_or_go_duration(std::string_view text);

}  // namespace drover
