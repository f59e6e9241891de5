#include "sandbox/child_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "base/descriptor.h"

extern char** environ;

namespace drover {
namespace {

constexpr std::string_view kNames[] = {
    // Drover's
    "DROVER_CPU_VARIANT", "DROVER_SANDBOX", "OLLAMA_DEBUG",
    // the C library's; the program itself may need the first
    "LD_LIBRARY_PATH", "LANG", "LANGUAGE", "TZ", "TZDIR", "GLIBC_TUNABLES",
    // where drivers keep what they compile
    "HOME", "XDG_CACHE_HOME",
    // sanitizers'
    "ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"};
constexpr std::string_view kBeginnings[] = {"GGML_", "VK_", "CUDA_", "MESA_", "HSA_", "LC_", "MALLOC_"};
constexpr int kCopiesFrom = 10;
constexpr std::string_view kEnd = "_VISIBLE_DEVICES";

}  // namespace

bool child_may_see(std::string_view entry) {
  const std::string_view name = entry.substr(0, entry.find('='));
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames) || name.ends_with(kEnd) ||
         std::any_of(std::begin(kBeginnings), std::end(kBeginnings),
                     [&](std::string_view beginning) { return name.starts_with(beginning); });
}

Result<pid_t> start_child(const std::string& executable, std::vector<std::string> arguments,
                          const std::array<int, 3>& descriptors) {
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (child_may_see(*entry)) environment.push_back(*entry);
  }
  environment.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  // Copies to numbers that the actions do not overwrite: a server that was started without descriptors 0 to 2 has
  // others there.
  std::deque<Descriptor> copies;
  int next = STDIN_FILENO;
  for (const int descriptor : descriptors) {
    ++next;
    if (descriptor >= 0) {
      const int copy = ::fcntl(descriptor, F_DUPFD_CLOEXEC, kCopiesFrom);
      copies.emplace_back(copy);
      posix_spawn_file_actions_adddup2(&actions, copy, next);
    } else if (next <= STDERR_FILENO) {
      posix_spawn_file_actions_addopen(&actions, next, "/dev/null", O_WRONLY, 0);
    }
  }
  posix_spawn_file_actions_addclosefrom_np(&actions, descriptors.back() >= 0 ? next + 1 : next);
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, executable.c_str(), &actions, nullptr, pointers.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return internal("cannot start a process: " + std::string(std::strerror(failed)));
  return pid;
}

}  // namespace drover
