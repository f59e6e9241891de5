#include "base/machine.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

namespace drover {
namespace {

std::optional<std::uint64_t> next_number(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

}  // namespace

std::optional<ProcessorTimes> parse_processor_times(std::string_view stat) {
  ProcessorTimes times;
  bool found = false;
  while (!stat.empty()) {
    std::string_view line = stat.substr(0, stat.find('\n'));
    stat.remove_prefix(std::min(line.size() + 1, stat.size()));
    if (!line.starts_with("cpu")) continue;
    line.remove_prefix(3);
    if (!line.starts_with(' ')) {
      ++times.cores;
      continue;
    }
    // user nice system idle iowait irq softirq steal; what follows is part of user and nice.
    for (int field = 0; field < 8; ++field) {
      const auto value = next_number(line);
      if (!value) break;
      times.all += *value;
      const bool idle = field == 3 || field == 4;
      if (!idle) times.busy += *value;
      found = found || field == 3;
    }
  }
  if (!found) return std::nullopt;
  return times;
}

std::optional<ProcessorTimes> read_processor_times() {
  std::ifstream file("/proc/stat");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_processor_times(text.str());
}

std::optional<double> busy_share(const ProcessorTimes& earlier, const ProcessorTimes& later) {
  if (later.all <= earlier.all || later.busy < earlier.busy) return std::nullopt;
  return static_cast<double>(later.busy - earlier.busy) / static_cast<double>(later.all - earlier.all);
}

std::chrono::milliseconds boot_time() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::milliseconds(static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000);
}

}  // namespace drover
