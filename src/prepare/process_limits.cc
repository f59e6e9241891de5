#include "prepare/process_limits.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <new>

#include "sandbox/sanitized.h"

namespace drover {
namespace {

constexpr int kSocket = 3;
constexpr int kExitMemory = 76;
constexpr int kExitStack = 77;
// A large frame may reach past the guard page, so this much below the stack counts as an overflow too.
constexpr std::uintptr_t kStackSlack = 1u << 20;

std::uintptr_t stack_top = 0;
std::size_t stack_bytes = 0;
alignas(16) char fault_stack[64 << 10];

void on_fault(int signal, siginfo_t* info, void*) {
  const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
  if (info->si_code > 0 && at < stack_top && stack_top - at < stack_bytes + kStackSlack) ::_exit(kExitStack);
  ::signal(signal, SIG_DFL);  // a fault happens again and ends the process; a sent signal must be sent again
  if (info->si_code <= 0) ::raise(signal);
}

[[noreturn]] void on_no_memory() {
  ::_exit(kExitMemory);
}

void limit(int what, rlim_t soft) {
  rlimit limits{};
  ::getrlimit(static_cast<__rlimit_resource>(what), &limits);
  limits.rlim_cur = std::min(soft, limits.rlim_max);
  ::setrlimit(static_cast<__rlimit_resource>(what), &limits);
}

std::uint64_t address_space_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  unsigned long long pages = 0;
  if (file == nullptr) return 0;
  const int read = std::fscanf(file, "%llu", &pages);
  std::fclose(file);
  return read == 1 ? pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace

LimitedEnd end_of(int status) {
  using How = LimitedEnd::How;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU) return {How::kProcessor, status};
  if (WIFEXITED(status) && WEXITSTATUS(status) == kExitMemory) return {How::kMemory, status};
  if (WIFEXITED(status) && WEXITSTATUS(status) == kExitStack) return {How::kStack, status};
  return {How::kOther, status};
}

std::string describe(const LimitedEnd& end) {
  if (WIFEXITED(end.status)) return "exit code " + std::to_string(WEXITSTATUS(end.status));
  const int signal = WTERMSIG(end.status);
  return "signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")";
}

void detach(int parent, int socket) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC); null >= 0) {
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO}) ::dup2(null, standard);
  }
  if (socket != kSocket) ::dup2(socket, kSocket);
  ::closefrom(kSocket + 1);  // also where the kernel has no close_range()
  limit(RLIMIT_CORE, 0);
}

void end_at_limits() {
  std::set_new_handler(on_no_memory);
  // Less than the stack of a runner's thread, so that code that runs here also runs there.
  pthread_attr_t thread;
  ::pthread_attr_init(&thread);
  ::pthread_attr_getstacksize(&thread, &stack_bytes);
  ::pthread_attr_destroy(&thread);
  stack_bytes = stack_bytes / 4 * 3;
  limit(RLIMIT_STACK, stack_bytes);
  stack_top = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  stack_t other{};
  other.ss_sp = fault_stack;
  other.ss_size = sizeof fault_stack;
  ::sigaltstack(&other, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (const int signal : {SIGSEGV, SIGBUS}) ::sigaction(signal, &action, nullptr);
}

void limit_memory(std::uint64_t bytes) {
  const std::uint64_t now = address_space_bytes();
  if (!kSanitized && now > 0) limit(RLIMIT_AS, now + bytes);
}

void limit_processor(unsigned seconds) {
  static rlim_t last = RLIM_INFINITY;
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  const rlim_t until = seconds == 0 ? RLIM_INFINITY : static_cast<rlim_t>(used.tv_sec) + seconds + 1;
  if (until == last) return;
  limit(RLIMIT_CPU, until);
  last = until;
}

std::uint64_t heap_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.arena + info.hblkhd;
}

}  // namespace drover
