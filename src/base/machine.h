// How busy the machine's processors have been, from /proc/stat, and how long it has been on.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace drover {

// Processor time since the machine began, in whatever unit: only differences are of use.
struct ProcessorTimes {
  std::uint64_t busy = 0;
  std::uint64_t all = 0;
  int cores = 0;
};

// Reads the text of /proc/stat; nullopt if it says something else.
std::optional<ProcessorTimes> parse_processor_times(std::string_view stat);
// As they are now; nullopt where the system does not tell.
std::optional<ProcessorTimes> read_processor_times();
// The share of all cores that was busy between two readings, 0 to 1; nullopt if no time has passed.
std::optional<double> busy_share(const ProcessorTimes& earlier, const ProcessorTimes& later);

// Since the machine began. Unlike Clock it goes on while the machine sleeps.
std::chrono::milliseconds boot_time();

}  // namespace drover
