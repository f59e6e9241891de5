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

std::optional<std::uint64_t> meminfo_kib(const std::filesystem::path& root, const std::string& wanted) {
  std::ifstream file(root / "proc/meminfo");
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

// What the groups from `group` up to `root` leave: the tightest of them.
std::uint64_t rest_of_groups(const std::filesystem::path& root, std::filesystem::path group, const char* limit_file,
                             const char* used_file) {
  std::uint64_t rest = kUnlimited;
  while (true) {
    const auto limit = read_number(group / limit_file);
    const auto used = read_number(group / used_file);
    if (limit && used) rest = std::min(rest, *limit > *used ? *limit - *used : 0);
    if (group == root || group == group.parent_path()) return rest;
    group = group.parent_path();
  }
}

// What the control groups of this process leave. /proc/self/cgroup has lines "0::/path" (version 2) and
// "4:memory:/path" (version 1).
std::uint64_t control_group_rest(const std::filesystem::path& system_root) {
  const std::filesystem::path root = system_root / "sys/fs/cgroup";
  std::ifstream file(system_root / "proc/self/cgroup");
  std::string line;
  std::uint64_t rest = kUnlimited;
  while (std::getline(file, line)) {
    const auto path = line.find(":/");
    if (path == std::string::npos) continue;
    const std::string group = line.substr(path + 2);
    if (line.rfind("0::", 0) == 0) {
      rest = std::min(rest, rest_of_groups(root, root / group, "memory.max", "memory.current"));
    } else if (line.find(":memory:") != std::string::npos) {
      rest = std::min(rest, rest_of_groups(root / "memory", root / "memory" / group, "memory.limit_in_bytes",
                                           "memory.usage_in_bytes"));
    }
  }
  return rest;
}

}  // namespace

std::uint64_t available_memory_bytes(const std::filesystem::path& root) {
  const auto kib = meminfo_kib(root, "MemAvailable");
  if (!kib) return 0;
  return std::min(*kib * 1024, control_group_rest(root));
}

}  // namespace drover
