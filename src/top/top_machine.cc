#include "top/top_machine.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

namespace drover::cli {
namespace {

constexpr unsigned kGpusMax = 16;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<std::uint64_t> next_number(std::string_view& text) {
  const std::size_t start = text.find_first_not_of(' ');
  if (start == std::string_view::npos) return std::nullopt;
  text.remove_prefix(start);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

// Calls `take` with each line.
template <typename Take>
void for_lines(std::string_view text, Take take) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    take(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::optional<std::uint64_t> kilobytes_of(std::string_view meminfo, std::string_view name) {
  std::optional<std::uint64_t> found;
  for_lines(meminfo, [&](std::string_view line) {
    if (!line.starts_with(name)) return;
    line.remove_prefix(name.size());
    found = next_number(line);
  });
  return found;
}

std::optional<std::uint64_t> read_number(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  std::string_view rest = text;
  return next_number(rest);
}

}  // namespace

std::vector<TopGpu> read_drm_gpus(const std::filesystem::path& folder) {
  std::vector<TopGpu> gpus;
  for (unsigned i = 0; i < kGpusMax; ++i) {
    const std::filesystem::path device = folder / ("card" + std::to_string(i)) / "device";
    const auto total = read_number(device / "mem_info_vram_total");
    const auto used = read_number(device / "mem_info_vram_used");
    if (!total || !used) continue;
    TopGpu gpu;
    gpu.memory_total = *total;
    gpu.memory_used = *used;
    if (const auto busy = read_number(device / "gpu_busy_percent")) {
      gpu.use_percent = static_cast<int>(std::min<std::uint64_t>(*busy, 100));
    }
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

std::optional<MemorySizes> parse_memory(std::string_view meminfo) {
  const auto total = kilobytes_of(meminfo, "MemTotal:");
  const auto available = kilobytes_of(meminfo, "MemAvailable:");
  if (!total || !available) return std::nullopt;
  return MemorySizes{*total * 1024, *available * 1024};
}

// NVIDIA's management library, as far as it is needed. It comes with the driver and is looked for when the program
// runs, so that no build depends on it.
struct MachineMeter::Nvidia {
  using Device = void*;
  struct Use {
    unsigned gpu = 0;
    unsigned memory = 0;
  };
  struct Memory {
    unsigned long long total = 0;
    unsigned long long free = 0;
    unsigned long long used = 0;
  };

  ~Nvidia() {
    if (shutdown != nullptr) shutdown();
    dlclose(library);
  }

  // Null if there is no GPU.
  static std::unique_ptr<Nvidia> open() {
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return nullptr;
    auto nvidia = std::make_unique<Nvidia>();
    nvidia->library = library;
    int (*init)() = nullptr;
    int (*count)(unsigned*) = nullptr;
    int (*handle)(unsigned, Device*) = nullptr;
    const bool complete = nvidia->find(init, "nvmlInit_v2") && nvidia->find(count, "nvmlDeviceGetCount_v2") &&
                          nvidia->find(handle, "nvmlDeviceGetHandleByIndex_v2") &&
                          nvidia->find(nvidia->use, "nvmlDeviceGetUtilizationRates") &&
                          nvidia->find(nvidia->memory, "nvmlDeviceGetMemoryInfo") &&
                          nvidia->find(nvidia->name, "nvmlDeviceGetName");
    if (!complete || init() != 0) return nullptr;
    nvidia->find(nvidia->shutdown, "nvmlShutdown");
    unsigned devices = 0;
    if (count(&devices) != 0) return nullptr;
    for (unsigned i = 0; i < devices && i < kGpusMax; ++i) {
      Device device = nullptr;
      if (handle(i, &device) == 0) nvidia->devices.push_back(device);
    }
    if (nvidia->devices.empty()) return nullptr;
    return nvidia;
  }

  std::vector<TopGpu> read() const {
    std::vector<TopGpu> gpus;
    for (Device device : devices) {
      TopGpu gpu;
      std::array<char, 96> text{};
      if (name(device, text.data(), static_cast<unsigned>(text.size())) == 0) gpu.name = text.data();
      Memory sizes;
      if (memory(device, &sizes) == 0) {
        gpu.memory_total = sizes.total;
        gpu.memory_used = sizes.used;
      }
      Use rates;
      if (use(device, &rates) == 0) gpu.use_percent = static_cast<int>(rates.gpu);
      gpus.push_back(std::move(gpu));
    }
    return gpus;
  }

  template <typename Function>
  bool find(Function& function, const char* symbol) const {
    function = reinterpret_cast<Function>(dlsym(library, symbol));
    return function != nullptr;
  }

  void* library = nullptr;
  int (*shutdown)() = nullptr;
  int (*use)(Device, Use*) = nullptr;
  int (*memory)(Device, Memory*) = nullptr;
  int (*name)(Device, char*, unsigned) = nullptr;
  std::vector<Device> devices;
};

MachineMeter::MachineMeter() : nvidia_(Nvidia::open()) {}
MachineMeter::~MachineMeter() = default;

TopMachine MachineMeter::read() {
  TopMachine machine;
  if (const auto times = read_processor_times()) {
    machine.cores = times->cores;
    const auto busy = last_ ? busy_share(*last_, *times) : std::nullopt;
    if (busy) machine.cpu_percent = 100 * *busy;
    last_ = times;
  }
  if (const auto memory = parse_memory(read_file("/proc/meminfo"))) {
    machine.memory_total = memory->total;
    machine.memory_used = memory->total - std::min(memory->total, memory->available);
  }
  if (nvidia_ != nullptr) machine.gpus = nvidia_->read();
  for (TopGpu& gpu : read_drm_gpus("/sys/class/drm")) machine.gpus.push_back(std::move(gpu));
  return machine;
}

}  // namespace drover::cli
