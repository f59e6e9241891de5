// How busy this machine is: its processors and memory from /proc, NVIDIA GPUs from the driver's library if there is
// one, AMD GPUs from what their driver shows in /sys.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "cli/top_state.h"

namespace drover::cli {

// Processor time since the machine began, in whatever unit: only differences are of use.
struct CpuTimes {
  std::uint64_t busy = 0;
  std::uint64_t all = 0;
  int cores = 0;
};
// Read the texts of /proc/stat and /proc/meminfo; nullopt if they say something else.
std::optional<CpuTimes> parse_cpu_times(std::string_view stat);
struct MemorySizes {
  std::uint64_t total = 0;      // bytes
  std::uint64_t available = 0;  // bytes
};
std::optional<MemorySizes> parse_memory(std::string_view meminfo);
// The cards in /sys/class/drm whose driver tells their memory, as AMD's does.
std::vector<TopGpu> read_drm_gpus(const std::filesystem::path& folder);

class MachineMeter {
 public:
  MachineMeter();
  ~MachineMeter();
  MachineMeter(const MachineMeter&) = delete;
  MachineMeter& operator=(const MachineMeter&) = delete;

  // How it is now; processor use is since the last call, and unknown at the first.
  TopMachine read();

 private:
  struct Nvidia;
  std::optional<CpuTimes> last_;
  std::unique_ptr<Nvidia> nvidia_;  // null: no such library, or no GPU
};

}  // namespace drover::cli
