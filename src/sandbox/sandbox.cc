#include "sandbox/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "base/descriptor.h"
#include "sandbox/sanitized.h"
#include "sandbox/seccomp_filter.h"

namespace drover {
namespace {

// ---- Landlock: the interface of its version 7, which Debian 12's headers do not have

struct RulesetAttributes {
  std::uint64_t files;
  std::uint64_t network;  // from version 4
  std::uint64_t scoped;   // from version 6
};
constexpr std::uint64_t kTruncate = 1 << 14;       // from version 3
constexpr std::uint64_t kDeviceControl = 1 << 15;  // from version 5
constexpr std::uint64_t kNetwork = 3;              // bind and connect TCP
constexpr std::uint64_t kScoped = 3;               // abstract sockets of other processes, and signals to them

constexpr std::uint64_t kFileRights = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate |
                                      kDeviceControl;  // rights of a file that is not a folder
constexpr std::uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kWrite = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;
constexpr std::uint64_t kDevice = kRead | LANDLOCK_ACCESS_FS_WRITE_FILE | kDeviceControl;
constexpr std::uint64_t kChangeFolder = kRead | kWrite | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                        LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                        LANDLOCK_ACCESS_FS_REFER;

// Files that glibc, llama.cpp and Drover read in addition to a model: processors, memory and its limits, the time zone.
constexpr const char* kSystemFiles[] = {
    "/proc/self",          "/proc/cpuinfo",       "/proc/meminfo",
    "/proc/stat",          "/proc/sys/vm",        "/proc/sys/kernel/numa_balancing",
    "/sys/devices/system", "/sys/fs/cgroup",      "/sys/kernel/mm/transparent_hugepage",
    "/etc/localtime",      "/usr/share/zoneinfo", "/dev/null",
    "/dev/zero",           "/dev/urandom"};
constexpr const char* kLibraryFolders[] = {"/lib", "/lib64", "/usr/lib", "/usr/lib64"};
// Files of GPU drivers, from their documentation; not tested on a machine with a GPU.
constexpr const char* kGpuFiles[] = {
    "/usr/local/cuda",   "/opt/rocm",        "/etc/ld.so.cache",  "/etc/vulkan",        "/etc/nvidia",  "/etc/glvnd",
    "/usr/share/vulkan", "/usr/share/glvnd", "/usr/share/nvidia", "/usr/share/drirc.d", "/proc/driver", "/proc/devices",
    "/sys/bus",          "/sys/class",       "/sys/dev",          "/sys/devices",       "/sys/module"};

constexpr rlim_t kOpenFilesMax = 4096;           // a model may be split over hundreds of files
constexpr rlim_t kCacheFileBytesMax = 1u << 30;  // limit of one file that a GPU driver writes

int landlock_version() {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return static_cast<int>(std::max(version, 0l));
}

class Landlock {
 public:
  explicit Landlock(int version) : ruleset_(create(version)) {}
  bool ok() const { return ruleset_.value() >= 0; }

  // A path that does not exist is not allowed. Rights that the kernel's version does not know need no rule.
  void allow(const char* path, std::uint64_t rights) {
    const Descriptor file(::open(path, O_PATH | O_CLOEXEC));
    struct stat status {};
    if (file.value() < 0 || ::fstat(file.value(), &status) != 0) return;
    if (!S_ISDIR(status.st_mode)) rights &= kFileRights;
    const landlock_path_beneath_attr rule = {rights & files_, file.value()};
    failed_ |= ::syscall(SYS_landlock_add_rule, ruleset_.value(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0;
  }

  // Needs no_new_privs.
  bool enter() const { return !failed_ && ::syscall(SYS_landlock_restrict_self, ruleset_.value(), 0) == 0; }

 private:
  int create(int version) {
    files_ = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
    if (version >= 2) files_ |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3) files_ |= kTruncate;
    if (version >= 5) files_ |= kDeviceControl;
    RulesetAttributes attributes = {files_, 0, 0};
    std::size_t size = sizeof attributes.files;
    if (version >= 4) {
      attributes.network = kNetwork;
      size += sizeof attributes.network;
    }
    if (version >= 6) {
      attributes.scoped = kScoped;
      size = sizeof attributes;
    }
    return static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, size, 0));
  }

  std::uint64_t files_ = 0;
  Descriptor ruleset_;
  bool failed_ = false;
};

// The folder of a sanitizer's report file, from its options ("log_path=/x/report:…").
std::string report_folder() {
  for (const char* name : {"ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"}) {
    const char* value = std::getenv(name);
    const std::string options = value == nullptr ? "" : value;
    constexpr std::string_view kPath = "log_path=";
    const auto start = options.find(kPath);
    if (start == std::string::npos) continue;
    const auto end = options.find(':', start);
    return std::filesystem::path(options.substr(start + kPath.size(), end - start - kPath.size())).parent_path();
  }
  return {};
}

void allow_devices(Landlock& landlock) {
  for (const char* path : kGpuFiles) landlock.allow(path, kRead);
  for (const char* path : kLibraryFolders) landlock.allow(path, kRead);
  for (const char* path : {"/dev/dri", "/dev/kfd", "/dev/nvidia-caps"}) landlock.allow(path, kDevice);
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/dev", failed)) {
    if (entry.path().filename().string().starts_with("nvidia")) landlock.allow(entry.path().c_str(), kDevice);
  }
  landlock.allow("/proc/self/task", kRead | LANDLOCK_ACCESS_FS_WRITE_FILE);  // names of threads
  landlock.allow(gpu_cache_folder().c_str(), kChangeFolder);
}

bool enter_landlock(const SandboxRules& rules, int version) {
  Landlock landlock(version);
  if (!landlock.ok()) return false;
  for (const char* path : kSystemFiles) landlock.allow(path, kRead);
  landlock.allow("/dev/null", kWrite);
  for (const std::string& path : rules.readable) landlock.allow(path.c_str(), kRead);
  for (const std::string& path : rules.writable) landlock.allow(path.c_str(), kWrite);
  if (rules.profile == SandboxProfile::kGpu) allow_devices(landlock);
  if (kSanitized) {
    for (const char* path : kLibraryFolders) landlock.allow(path, kRead);
    landlock.allow("/proc/self/exe", kRead);
    landlock.allow("/proc", kRead);  // their helper is another process
    landlock.allow(report_folder().c_str(), kChangeFolder);
  }
  return landlock.enter();
}

// ---- capabilities

bool set_capabilities(const __user_cap_data_struct (&data)[2]) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  return ::syscall(SYS_capset, &header, data) == 0;
}

bool reaches_all(const SandboxRules& rules) {
  const auto reaches = [](const std::string& path, int how) {
    return ::faccessat(AT_FDCWD, path.c_str(), how, AT_EACCESS) == 0 || errno == ENOENT;
  };
  return std::all_of(rules.readable.begin(), rules.readable.end(), [&](auto& path) { return reaches(path, R_OK); }) &&
         std::all_of(rules.writable.begin(), rules.writable.end(), [&](auto& path) { return reaches(path, W_OK); });
}

// A server that runs as root serves models from any user's folder. If only CAP_DAC_OVERRIDE gives access to them, the
// process keeps it, and Landlock alone confines the process. Returns the restriction that was not applied, as a
// sentence; empty: all were applied.
std::string drop_capabilities(const SandboxRules& rules, SandboxMode mode) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return "its capabilities are not known";
  for (unsigned long capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability) {
    (void)::prctl(PR_CAPBSET_DROP, capability);  // a process that may not drop it does not have it
  }
  (void)::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  const bool reached = reaches_all(rules);
  const std::uint32_t override_bit = data[0].permitted & (1u << CAP_DAC_OVERRIDE);
  data[0].effective = data[1].effective = data[0].inheritable = data[1].inheritable = 0;
  if (!set_capabilities(data)) return "capabilities cannot be given up";
  const bool left = mode != SandboxMode::kRequire && override_bit != 0 && reached && !reaches_all(rules);
  data[0].effective = data[0].permitted = left ? override_bit : 0;
  data[1].permitted = 0;
  if (!set_capabilities(data)) return "capabilities cannot be given up";
  return left ? "the model belongs to another user, so CAP_DAC_OVERRIDE is kept" : "";
}

// ---- the rest

// RLIMIT_NPROC is not set: it counts all processes of the user, including the server's threads.
void limit_resources(SandboxProfile profile) {
  const auto limit = [](__rlimit_resource what, rlim_t most) {
    rlimit limits{};
    if (::getrlimit(what, &limits) != 0) return;
    limits.rlim_max = std::min(limits.rlim_max, most);
    limits.rlim_cur = std::min(limits.rlim_cur, limits.rlim_max);
    ::setrlimit(what, &limits);
  };
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_NOFILE, kOpenFilesMax);
  if (profile == SandboxProfile::kGpu) limit(RLIMIT_FSIZE, kCacheFileBytesMax);
  if (profile == SandboxProfile::kRunner && !kSanitized) limit(RLIMIT_FSIZE, 0);
}

// Makes the folder and directs the drivers to it.
void prepare_gpu_cache() {
  const std::string folder = gpu_cache_folder();
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  for (const char* name : {"CUDA_CACHE_PATH", "MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH"}) {
    ::setenv(name, folder.c_str(), 1);
  }
}

}  // namespace

std::string SandboxSupport::parts() const {
  std::vector<std::string> names;
  if (seccomp) names.emplace_back("seccomp");
  if (landlock > 0) names.push_back(fmt::format("Landlock {}", landlock));
  return fmt::format("{}", fmt::join(names, ", "));
}

SandboxSupport sandbox_support() {
  SandboxSupport support;
  const std::uint32_t refuse = SECCOMP_RET_ERRNO;
  support.seccomp = ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &refuse) == 0;
  support.landlock = landlock_version();
  if (!support.seccomp) support.missing.emplace_back("there is no seccomp: all system calls are open");
  if (support.landlock == 0) support.missing.emplace_back("there is no Landlock: all files of this user can be read");
  return support;
}

SandboxMode wanted_sandbox() {
  const auto settings = read_settings([](const char* name) -> const char* { return std::getenv(name); });
  return settings ? settings->sandbox : SandboxMode::kRequire;
}

Result<std::vector<std::string>> enter_sandbox(const SandboxRules& rules, SandboxMode mode) {
  if (mode == SandboxMode::kOff) return std::vector<std::string>{};
  const SandboxSupport support = sandbox_support();
  std::vector<std::string> missing = support.missing;
  ::tzset();                              // reads the time zone's file, once
  ::setenv("GGML_NO_BACKTRACE", "1", 0);  // a backtrace starts a debugger, which is not allowed
  if (rules.profile == SandboxProfile::kGpu) prepare_gpu_cache();
  limit_resources(rules.profile);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) missing.emplace_back("no_new_privs cannot be set");
  if (const std::string left = drop_capabilities(rules, mode); !left.empty()) missing.push_back(left);
  if (support.landlock > 0 && !enter_landlock(rules, support.landlock)) {
    missing.push_back(fmt::format("Landlock cannot be entered: {}", std::strerror(errno)));
  }
  if (support.seccomp) {
    if (const auto restricted = restrict_system_calls(rules.profile); !restricted) {
      missing.push_back(restricted.error().message);
    }
  }
  if (mode == SandboxMode::kRequire && !missing.empty()) {
    return internal(fmt::format("DROVER_SANDBOX is \"require\", and {}", fmt::join(missing, "; ")));
  }
  return missing;
}

Result<void> enter_prepare_sandbox(SandboxMode mode) {
  if (mode == SandboxMode::kOff) return {};
  ::tzset();
  ::setenv("GGML_NO_BACKTRACE", "1", 0);
  const auto restricted = restrict_system_calls_to_answering();
  return mode == SandboxMode::kRequire ? restricted : Result<void>();
}

std::string gpu_cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return std::string(cache) + "/drover-gpu";
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "" : home) + "/.cache/drover-gpu";
}

}  // namespace drover
