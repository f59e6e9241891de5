#include "base/system_memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

namespace drover {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

std::optional<std::uint64_t> meminfo_kib(const std::string& wanted) {
  std::ifstream file("/proc/meminfo");
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t kib = 0;
    if (words >> name >> kib && name == wanted + ":") return kib;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> read_number(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;  // missing, or "max"
}

// What the control groups (version 2) of this process leave: the tightest of its own and its parents'.
std::uint64_t control_group_rest() {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  std::uint64_t rest = kUnlimited;
  while (std::getline(file, line)) {
    if (line.rfind("0::/", 0) != 0) continue;
    const std::filesystem::path root = "/sys/fs/cgroup";
    std::filesystem::path group = root / line.substr(4);
    while (true) {
      const auto limit = read_number(group / "memory.max");
      const auto used = read_number(group / "memory.current");
      if (limit && used) rest = std::min(rest, *limit > *used ? *limit - *used : 0);
      if (group == root || !group.has_relative_path() || group == group.parent_path()) break;
      group = group.parent_path();
    }
  }
  return rest;
}

}  // namespace

std::uint64_t available_memory_bytes() {
  const auto kib = meminfo_kib("MemAvailable");
  if (!kib) return 0;
  return std::min(*kib * 1024, control_group_rest());
}

}  // namespace drover
