#include "sandbox/seccomp_filter.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>

#include "sandbox/sanitized.h"

namespace drover {
namespace {

// Calls of a process that computes and answers over its open sockets.
constexpr std::string_view kAnswering =
    "read readv write writev recvfrom recvmsg sendmsg shutdown close poll ppoll select pselect6 fstat lseek munmap "
    "mremap madvise brk mincore futex sched_yield clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday "
    "time times getrusage exit exit_group rt_sigreturn rt_sigaction rt_sigprocmask sigaltstack restart_syscall "
    "getrandom getrlimit setrlimit getpid gettid getppid getcpu rseq set_robust_list membarrier sysinfo uname";

// Additional calls for computing: files, which Landlock restricts, threads, and children.
constexpr std::string_view kComputing =
    "pread64 preadv preadv2 dup dup2 dup3 fcntl close_range pipe pipe2 eventfd2 epoll_create1 epoll_ctl epoll_wait "
    "epoll_pwait stat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat "
    "getdents64 getcwd fadvise64 readahead mmap mprotect msync mlock mlock2 munlock get_mempolicy set_mempolicy fork "
    "wait4 waitid set_tid_address get_robust_list futex_waitv sched_getaffinity sched_getparam sched_getscheduler "
    "sched_get_priority_max sched_get_priority_min getpriority rt_sigpending rt_sigsuspend rt_sigtimedwait kill "
    "tgkill tkill pause alarm getitimer setitimer getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp "
    "getpgid getsid capget arch_prctl seccomp";

constexpr std::string_view kWriting =
    "open openat pwrite64 pwritev pwritev2 ftruncate fallocate fsync fdatasync sync_file_range";

// Drivers talk to their devices and cache compiled code in files.
constexpr std::string_view kDevices =
    "ioctl memfd_create mkdir mkdirat unlink unlinkat rename renameat renameat2 rmdir utimensat fchmod flock sendfile "
    "copy_file_range inotify_init1 inotify_add_watch timerfd_create timerfd_settime eventfd mbind sched_setscheduler "
    "sched_setattr sched_getattr kcmp";

// Sanitizers stop the threads of their process from another one to look for leaks, and write reports.
constexpr std::string_view kSanitizers =
    "ptrace personality ioctl prctl process_vm_readv process_vm_writev unlink unlinkat rename mkdir sched_setaffinity";

// Calls for which the C library has a fallback if the kernel does not know them. clone3 and openat2 hide their
// arguments from a filter.
constexpr std::string_view kUnknown = "clone3 openat2";
// Numbers that all architectures share. Newer calls without a name here get the same answer.
constexpr int kCommonNumbers[] = {424, 511};

constexpr std::uint64_t kInt = 0xffffffff;    // the kernel ignores the other bits of an int argument
constexpr int kPrctlNameMemory = 0x53564d41;  // PR_SET_VMA
constexpr std::uint64_t kNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                      CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME;
constexpr std::uint64_t kTemporaryFile = 020000000;  // O_TMPFILE without O_DIRECTORY
constexpr std::uint64_t kWritingFlags = O_ACCMODE | O_CREAT | O_TRUNC | kTemporaryFile;

// A list of allowed calls; all others fail with EPERM.
class Filter {
 public:
  Filter() : context_(::seccomp_init(SCMP_ACT_ERRNO(EPERM)), ::seccomp_release) {
    if (context_ == nullptr) {
      check(-ENOMEM);
      return;
    }
    check(::seccomp_attr_set(context_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
    check(::seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_TSYNC, 1));
    check(::seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2));  // a tree: all calls take the same time
    for_each(kUnknown,
             [this](const char* name) { add(SCMP_ACT_ERRNO(ENOSYS), ::seccomp_syscall_resolve_name(name), {}); });
    for (int number = kCommonNumbers[0]; number <= kCommonNumbers[1]; ++number) {
      char* name = ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
      if (name == nullptr) add(SCMP_ACT_ERRNO(ENOSYS), number, {});
      std::free(name);
    }
  }

  void allow(const char* name, std::initializer_list<scmp_arg_cmp> conditions) {
    add(SCMP_ACT_ALLOW, ::seccomp_syscall_resolve_name(name), conditions);
  }
  // Allows calls with any arguments. `names`: separated by spaces.
  void allow_all(std::string_view names) {
    for_each(names, [this](const char* name) { allow(name, {}); });
  }
  // Allows a call if the argument equals `value` in the bits of `mask`.
  void allow_if(const char* name, unsigned argument, std::uint64_t value, std::uint64_t mask = kInt) {
    allow(name, {{argument, SCMP_CMP_MASKED_EQ, mask, value}});
  }

  Result<void> load() {
    check(::seccomp_load(context_.get()));
    if (failed_ == 0) return {};
    return internal(std::string("seccomp: ") + std::strerror(-failed_));
  }

 private:
  template <typename Each>
  static void for_each(std::string_view names, const Each& each) {
    std::istringstream words{std::string(names)};
    for (std::string name; words >> name;) each(name.c_str());
  }
  void add(std::uint32_t action, int number, std::initializer_list<scmp_arg_cmp> conditions) {
    if (number == __NR_SCMP_ERROR || failed_ != 0) return;  // the library does not know it
    const int result = ::seccomp_rule_add_array(context_.get(), action, number,
                                                static_cast<unsigned>(conditions.size()), conditions.begin());
    if (result != -EEXIST) check(result);
  }
  void check(int result) {
    if (failed_ == 0 && result < 0) failed_ = result;
  }

  std::unique_ptr<void, decltype(&::seccomp_release)> context_;
  int failed_ = 0;
};

// Allows the calls of a process that only computes and answers; some of them only with certain arguments.
void allow_answering(Filter& filter) {
  filter.allow_all(kAnswering);
  filter.allow_if("sendto", 4, 0, ~0ull);  // to the other end of a connection, not to an address
  filter.allow_if("prlimit64", 0, 0);      // its own limits
  filter.allow_if("prctl", 0, PR_SET_NAME);
  filter.allow_if("prctl", 0, kPrctlNameMemory);
  if (!kSanitized) return;
  filter.allow_all(kSanitizers);
  filter.allow_all(kComputing);
  filter.allow_all(kWriting);
  filter.allow_if("clone", 0, 0, kNamespaces);
}

void allow_computing(Filter& filter) {
  filter.allow_all(kComputing);
  for (const int option : {PR_GET_NAME, PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS,
                           PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_CAPBSET_READ, PR_GET_SECCOMP, PR_SVE_GET_VL}) {
    filter.allow_if("prctl", 0, static_cast<std::uint64_t>(option));
  }
  for (const std::uint64_t command : {TCGETS, FIONREAD, FIONBIO}) filter.allow_if("ioctl", 1, command);
  // Sockets between its own processes, of kinds that cannot send to an address, so they cannot reach a system service.
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    filter.allow("socketpair",
                 {{0, SCMP_CMP_MASKED_EQ, kInt, AF_UNIX},
                  {1, SCMP_CMP_MASKED_EQ, kInt & ~static_cast<std::uint64_t>(SOCK_CLOEXEC | SOCK_NONBLOCK),
                   static_cast<std::uint64_t>(type)}});
  }
  filter.allow_if("clone", 0, 0, kNamespaces);
  filter.allow_if("setpriority", 0, PRIO_PROCESS);
  for (const pid_t who : {0, ::getpid()}) filter.allow_if("sched_setaffinity", 0, static_cast<std::uint64_t>(who));
}

}  // namespace

Result<void> restrict_system_calls(SandboxProfile profile) {
  Filter filter;
  allow_answering(filter);
  allow_computing(filter);
  if (profile == SandboxProfile::kRunner) {
    // Landlock, if available, forbids this too.
    filter.allow_if("open", 1, O_RDONLY, kWritingFlags);
    filter.allow_if("openat", 2, O_RDONLY, kWritingFlags);
  } else {
    filter.allow_all(kWriting);
  }
  if (profile == SandboxProfile::kGpu) filter.allow_all(kDevices);
  return filter.load();
}

Result<void> restrict_system_calls_to_answering() {
  Filter filter;
  allow_answering(filter);
  filter.allow_if("mmap", 2, 0, PROT_EXEC);
  filter.allow_if("mprotect", 2, 0, PROT_EXEC);
  filter.allow_if("tgkill", 0, static_cast<std::uint64_t>(::getpid()));  // abort()
  return filter.load();
}

}  // namespace drover
