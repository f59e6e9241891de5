#include "base/work_page.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>

namespace drover {
namespace {

// Enough for a handler on a processor with large registers, also where the thread's own stack has overflowed.
constexpr std::size_t kSignalStackBytes = 64 << 10;
constexpr std::array kFatalSignals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

WorkDesks unread_desks;
WorkDesks* desks = &unread_desks;
std::atomic<std::size_t> desks_taken{0};
struct sigaction actions_before[kFatalSignals.size()];
// Of this thread; null: it has none of its own. Read by the signal handler, so without a constructor.
thread_local WorkDesks::Desk* own_desk = nullptr;

// A thread's desk and the stack for its signal handlers.
class Seat {
 public:
  Seat() : stack_(std::make_unique_for_overwrite<char[]>(kSignalStackBytes)) {
    const std::size_t index = desks_taken.fetch_add(1, std::memory_order_relaxed);
    own_desk = &desks->desks[index < WorkDesks::kDesks ? index : 0];
    stack_t stack{};
    stack.ss_sp = stack_.get();
    stack.ss_size = kSignalStackBytes;
    ::sigaltstack(&stack, nullptr);
  }
  ~Seat() {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    ::sigaltstack(&none, nullptr);
    own_desk = nullptr;
  }
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;

 private:
  std::unique_ptr<char[]> stack_;
};

WorkDesks::Desk& take_desk() {
  thread_local const Seat seat;
  return *own_desk;
}

// A message of one byte, with room for a descriptor beside it.
struct Letter {
  Letter() {
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
  }
  Letter(const Letter&) = delete;
  Letter& operator=(const Letter&) = delete;

  char byte = 'w';
  iovec piece{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
};

std::int64_t nanoseconds(TimePoint time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

// Then does what would have happened without it.
void on_fatal_signal(int number, siginfo_t* info, void*) {
  const bool sent = info->si_code <= 0 && info->si_pid != ::getpid();
  // A thread without a desk is one of the engine's, and computes for the first thread.
  const WorkDesks::Desk& desk = own_desk != nullptr ? *own_desk : desks->desks[0];
  if (!sent) desks->culprit.store(desk.request.load(std::memory_order_relaxed), std::memory_order_relaxed);
  for (std::size_t i = 0; i < kFatalSignals.size(); ++i)
    if (kFatalSignals[i] == number) ::sigaction(number, &actions_before[i], nullptr);
  // What this thread did wrong it will do again. A signal that was sent is sent again; it waits until this returns.
  if (info->si_code <= 0) ::raise(number);
}

}  // namespace

// ---- the front

Result<WorkPage> WorkPage::create() {
  const auto failed = [](const char* what) { return internal(std::string(what) + ": " + std::strerror(errno)); };
  WorkPage page;
  page.descriptor_ = ::memfd_create("drover-work", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (page.descriptor_ < 0) return failed("memfd_create");
  if (::ftruncate(page.descriptor_, sizeof(WorkDesks)) != 0) return failed("ftruncate");
  // A runner that cut it off would end the front, which reads there. Where it cannot be sealed, trust has to do.
  (void)::fcntl(page.descriptor_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  void* memory = ::mmap(nullptr, sizeof(WorkDesks), PROT_READ, MAP_SHARED, page.descriptor_, 0);
  if (memory == MAP_FAILED) return failed("mmap");
  page.desks_ = static_cast<WorkDesks*>(memory);  // zeros are what an empty one is made of
  return page;
}

WorkPage::~WorkPage() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (desks_ != nullptr) ::munmap(desks_, sizeof(WorkDesks));
}

WorkPage::WorkPage(WorkPage&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), desks_(std::exchange(other.desks_, nullptr)) {}

WorkPage& WorkPage::operator=(WorkPage&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(desks_, other.desks_);
  return *this;
}

Result<void> WorkPage::send(int socket) {
  Letter letter;
  cmsghdr* header = CMSG_FIRSTHDR(&letter.message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor_, sizeof(int));
  const ssize_t sent = ::sendmsg(socket, &letter.message, MSG_NOSIGNAL);
  const int error = errno;
  ::close(std::exchange(descriptor_, -1));
  if (sent != 1) return internal(std::string("sendmsg: ") + std::strerror(error));
  return {};
}

RequestId WorkPage::culprit() const {
  return RequestId{desks_ == nullptr ? 0 : desks_->culprit.load(std::memory_order_relaxed)};
}

RequestId WorkPage::stuck_at(TimePoint before) const {
  RequestId stuck;
  std::int64_t oldest = nanoseconds(before);
  for (std::size_t i = 0; desks_ != nullptr && i < WorkDesks::kDesks; ++i) {
    const std::uint64_t request = desks_->desks[i].request.load(std::memory_order_relaxed);
    const std::int64_t since = desks_->desks[i].since.load(std::memory_order_relaxed);
    if (request == 0 || since > oldest) continue;
    oldest = since;
    stuck = RequestId{request};
  }
  return stuck;
}

// ---- the runner

void receive_work_page(int socket) {
  Letter letter;
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &letter.message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  const cmsghdr* header = got == 1 ? CMSG_FIRSTHDR(&letter.message) : nullptr;
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(header), sizeof(int));
    void* memory = ::mmap(nullptr, sizeof(WorkDesks), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    ::close(descriptor);
    if (memory != MAP_FAILED) desks = new (memory) WorkDesks;
  }
  take_desk();  // the first one
  struct sigaction action {};
  action.sa_sigaction = on_fatal_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (std::size_t i = 0; i < kFatalSignals.size(); ++i) ::sigaction(kFatalSignals[i], &action, &actions_before[i]);
}

void leave_work_page() {
  if (desks != &unread_desks) ::munmap(std::exchange(desks, &unread_desks), sizeof(WorkDesks));
  if (own_desk != nullptr) own_desk = &unread_desks.desks[0];
  for (const int number : kFatalSignals) ::signal(number, SIG_DFL);
}

AtWork::AtWork(RequestId request)
    : desk_(take_desk()),
      request_before_(desk_.request.load(std::memory_order_relaxed)),
      since_before_(desk_.since.load(std::memory_order_relaxed)) {
  desk_.since.store(nanoseconds(Clock::now()), std::memory_order_relaxed);
  desk_.request.store(request.value, std::memory_order_relaxed);
}

AtWork::~AtWork() {
  desk_.since.store(since_before_, std::memory_order_relaxed);
  desk_.request.store(request_before_, std::memory_order_relaxed);
}

}  // namespace drover
