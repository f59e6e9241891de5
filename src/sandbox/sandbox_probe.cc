// Tries what a process in a sandbox must not do, and tells what came of it.
//
//   sandbox_probe try PROFILE FOLDER PORT    enters the sandbox of a profile (runner, gpu, quantize, prepare), with
//                                            FOLDER/model to read and FOLDER/target to write, as far as the profile has
//                                            such; then writes a line for each attempt: "NAME ok" or "NAME EPERM".
//                                            PORT: a TCP port of this machine that somebody listens on; @PORT is the
//                                            name of an abstract socket that somebody listens on
//   sandbox_probe without CALL COMMAND…      runs the command as on a kernel that does not know the system call
#include <fcntl.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "sandbox/sandbox.h"

namespace {

struct Targets {
  std::string folder;
  std::uint16_t port = 0;
  pid_t parent = ::getppid();
  std::string model() const { return folder + "/model"; }
};

void tell(const char* name, long result) {
  std::printf("%s %s\n", name, result >= 0 ? "ok" : ::strerrorname_np(errno));
  std::fflush(stdout);
}

int open_read(const std::string& path) {
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
}

// A file may be opened whose bytes are refused.
long read_first(const std::string& path) {
  char byte = 0;
  const int file = open_read(path);
  return file < 0 ? -1 : ::pread(file, &byte, 1, 0);
}

void try_files(const Targets& at) {
  tell("read_model", read_first(at.model()));
  tell("read_other", read_first(at.folder + "/other"));
  tell("read_passwd", read_first("/etc/passwd"));
  tell("list_folder", ::open(at.folder.c_str(), O_RDONLY | O_DIRECTORY));
  tell("list_root", ::open("/", O_RDONLY | O_DIRECTORY));
  tell("write_target", ::open((at.folder + "/target").c_str(), O_WRONLY));
  tell("write_model", ::open(at.model().c_str(), O_WRONLY));
  tell("write_proc_self", ::open("/proc/self/oom_score_adj", O_WRONLY));
  tell("create_file", ::open((at.folder + "/new").c_str(), O_WRONLY | O_CREAT, 0600));
  tell("create_unnamed", ::open(at.folder.c_str(), O_TMPFILE | O_RDWR, 0600));
  for (const char* folder : {"/tmp", "/dev/shm"}) {
    const std::string path = std::string(folder) + "/drover-probe-" + std::to_string(::getpid());
    tell(("create_in_" + std::string(folder + 1)).c_str(), ::open(path.c_str(), O_RDWR | O_CREAT, 0600));
    (void)::unlink(path.c_str());
  }
  tell("truncate_other", ::truncate((at.folder + "/other").c_str(), 0));
  tell("unlink_other", ::unlink((at.folder + "/other").c_str()));
  tell("rename_other", ::rename((at.folder + "/other").c_str(), (at.folder + "/renamed").c_str()));
  tell("make_folder", ::mkdir((at.folder + "/made").c_str(), 0700));
  tell("link_other", ::link((at.folder + "/other").c_str(), (at.folder + "/linked").c_str()));
  tell("symlink", ::symlink("/etc/passwd", (at.folder + "/symlinked").c_str()));
  tell("make_fifo", ::mkfifo((at.folder + "/fifo").c_str(), 0600));
  tell("make_device", ::mknod((at.folder + "/device").c_str(), S_IFCHR | 0600, 0));
  tell("chmod_model", ::chmod(at.model().c_str(), 0777));
  tell("chown_model", ::chown(at.model().c_str(), 1, 1));
}

void try_network(const Targets& at) {
  const int tcp = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(at.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  tell("connect_tcp", tcp < 0 ? -1 : ::connect(tcp, reinterpret_cast<sockaddr*>(&address), sizeof address));
  address.sin_port = 0;
  tell("bind_tcp", tcp < 0 ? -1 : ::bind(tcp, reinterpret_cast<sockaddr*>(&address), sizeof address));
  const int abstract = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const int size = std::snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "%u", at.port);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<std::size_t>(size));
  tell("connect_abstract", abstract < 0 ? -1 : ::connect(abstract, reinterpret_cast<sockaddr*>(&name), length));
  tell("udp", ::socket(AF_INET, SOCK_DGRAM, 0));
  tell("ipv6", ::socket(AF_INET6, SOCK_STREAM, 0));
  tell("netlink", ::socket(AF_NETLINK, SOCK_RAW, 0));
  tell("packet", ::socket(AF_PACKET, SOCK_RAW, 0));
  int ends[2];
  tell("datagram_pair", ::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
  tell("stream_pair", ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
}

void try_processes(const Targets& at) {
  const std::string parent = "/proc/" + std::to_string(at.parent);
  tell("kill_parent", ::kill(at.parent, SIGWINCH));
  tell("tgkill_parent", ::syscall(SYS_tgkill, at.parent, at.parent, SIGWINCH));
  tell("ptrace_parent", ::ptrace(PTRACE_SEIZE, at.parent, nullptr, nullptr));
  tell("parent_environ", read_first(parent + "/environ"));
  tell("parent_memory", ::open((parent + "/mem").c_str(), O_RDONLY));
  tell("parent_command_line", read_first(parent + "/cmdline"));
  char byte = 0;
  iovec here = {&byte, 1};
  iovec there = {&byte, 1};
  tell("parent_vm_read", ::process_vm_readv(at.parent, &here, 1, &there, 1, 0));
  tell("parent_vm_write", ::process_vm_writev(at.parent, &here, 1, &there, 1, 0));
  rlimit limits{};
  tell("parent_limits", ::prlimit(at.parent, RLIMIT_NOFILE, nullptr, &limits));
  tell("parent_pidfd", ::syscall(SYS_pidfd_open, at.parent, 0));
  cpu_set_t processors;
  CPU_ZERO(&processors);
  CPU_SET(0, &processors);
  tell("parent_affinity", ::sched_setaffinity(at.parent, sizeof processors, &processors));
  ::getrlimit(RLIMIT_NOFILE, &limits);
  limits.rlim_cur = limits.rlim_max += 1;
  tell("raise_limit", ::setrlimit(RLIMIT_NOFILE, &limits));
  ::getrlimit(RLIMIT_CORE, &limits);
  tell("core_is_off", limits.rlim_max == 0 ? 0 : (errno = EINVAL, -1));
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  tell("fork", child);
  if (child > 0) ::waitpid(child, nullptr, 0);
}

// None of these changes anything beyond this process, should it succeed.
void try_kernel(const Targets& at) {
  tell("mount", ::mount("none", at.folder.c_str(), "no such type", 0, nullptr));
  tell("unmount", ::umount2(at.folder.c_str(), 0));
  tell("unshare_user", ::unshare(CLONE_NEWUSER));
  tell("unshare_network", ::unshare(CLONE_NEWNET));
  const long child = ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) ::_exit(0);
  tell("clone_user", child);
  tell("clone3", ::syscall(SYS_clone3, nullptr, 0));
  tell("setns", ::setns(0, 0));
  tell("chroot", ::chroot("/"));
  tell("setuid", ::setuid(::getuid()));
  tell("setgid", ::setgid(::getgid()));
  tell("setgroups", ::syscall(SYS_setgroups, 0, nullptr));
  tell("io_uring", ::syscall(SYS_io_uring_setup, 1, nullptr));
  tell("bpf", ::syscall(SYS_bpf, 0, nullptr, 0));
  perf_event_attr event{};
  event.size = sizeof event;
  tell("perf_event", ::syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
  tell("userfaultfd", ::syscall(SYS_userfaultfd, O_CLOEXEC | 1));
  tell("keyctl", ::syscall(SYS_keyctl, 0, -3, 1, 0, 0));
  tell("add_key", ::syscall(SYS_add_key, "user", "x", "x", 1, -3));
  tell("module", ::syscall(SYS_init_module, nullptr, 0, ""));
  tell("handle", ::syscall(SYS_open_by_handle_at, AT_FDCWD, nullptr, 0));
  tell("personality", ::syscall(SYS_personality, 0xffffffff));
  tell("push_input", ::ioctl(STDIN_FILENO, TIOCSTI, "x"));
  void* code = ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  tell("make_code", code == MAP_FAILED ? -1 : 0);
  void* data = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  tell("make_memory", data == MAP_FAILED ? -1 : 0);
  tell("turn_into_code", ::mprotect(data, 4096, PROT_READ | PROT_EXEC));
}

// The last ones: if they succeed, the rest is missing.
void try_programs(const Targets& at) {
  char* const arguments[] = {const_cast<char*>("true"), nullptr};
  const int memory = static_cast<int>(::syscall(SYS_memfd_create, "x", 0));
  tell("memory_file", memory);
  if (memory >= 0) {
    tell("memory_exec", ::syscall(SYS_execveat, memory, "", arguments, nullptr, AT_EMPTY_PATH));
  }
  tell("exec_model", ::execve(at.model().c_str(), arguments, nullptr));
  tell("exec_self", ::execve("/proc/self/exe", arguments, nullptr));
  tell("exec", ::execve("/bin/true", arguments, nullptr));
}

int enter(const std::string& profile, const Targets& at) {
  using drover::SandboxProfile;
  if (profile == "prepare") {
    const auto entered = drover::enter_prepare_sandbox(drover::SandboxMode::kRequire);
    if (!entered) std::printf("error %s\n", entered.error().message.c_str());
    return entered ? 0 : 1;
  }
  drover::SandboxRules rules;
  rules.readable = {at.model()};
  if (profile == "gpu") rules.profile = SandboxProfile::kGpu;
  if (profile == "quantize") {
    rules.profile = SandboxProfile::kQuantize;
    rules.writable = {at.folder + "/target"};
  }
  const auto missing = drover::enter_sandbox(rules, drover::wanted_sandbox());
  if (!missing) std::printf("error %s\n", missing.error().message.c_str());
  if (!missing) return 1;
  for (const std::string& what : *missing) std::printf("missing %s\n", what.c_str());
  return 0;
}

int run_without(char** arguments) {
  const scmp_filter_ctx filter = ::seccomp_init(SCMP_ACT_ALLOW);
  ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), ::seccomp_syscall_resolve_name(arguments[0]), 0);
  if (::seccomp_load(filter) != 0) return 1;
  ::execvp(arguments[1], arguments + 1);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 1) return 0;  // it has executed itself
  if (argc > 3 && std::strcmp(argv[1], "without") == 0) return run_without(argv + 2);
  if (argc != 5 || std::strcmp(argv[1], "try") != 0) return 2;
  const Targets at = {argv[3], static_cast<std::uint16_t>(std::atoi(argv[4]))};
  std::printf("secret %s\n", std::getenv("PROBE_SECRET") == nullptr ? "none" : "seen");
  for (int descriptor = 3; descriptor < 1024; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) >= 0) std::printf("descriptor %d\n", descriptor);
  }
  if (enter(argv[2], at) != 0) return 1;
  std::fflush(stdout);
  try_files(at);
  try_network(at);
  try_processes(at);
  try_kernel(at);
  try_programs(at);
  std::fflush(stdout);
  ::_exit(0);  // a sanitizer's check for leaks at the end needs what is not allowed here
}
