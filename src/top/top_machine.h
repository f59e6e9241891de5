// How busy this machine is: its processors and memory from /proc, NVIDIA GPUs from the driver's library if there is
// one, AMD GPUs from what their driver shows in /sys.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/machine.h"
#include "top/top_state.h"

namespace drover::cli {

// Reads the text of /proc/meminfo; nullopt if it says something else.
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
  std::optional<ProcessorTimes> last_;
  std::unique_ptr<Nvidia> nvidia_;  // null: no such library, or no GPU
};

}  // namespace drover::cli
