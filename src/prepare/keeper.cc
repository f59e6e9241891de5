#include "prepare/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/work_page.h"
#include "engine/chat_template.h"
#include "engine/engine_log.h"
#include "engine/llama_model.h"
#include "prepare/worker.h"
#include "sandbox/sandbox.h"

namespace drover {
namespace {

constexpr int kSocket = 3;
constexpr std::size_t kTextBytesMax = 2000;
constexpr int kYieldNiceness = 10;
constexpr std::string_view kFirstToKill = "1000";  // the highest oom_score_adj

struct OrderMessage {
  Keeper::Order order;
  std::uint64_t worker;
};
struct ReportMessage {
  KeeperReport::Kind kind;
  bool invalid;
  std::uint64_t worker;
  int status;
  std::uint32_t text_size;
  char text[kTextBytesMax];
};

std::string system_error(const char* what) {
  return std::string(what) + ": " + std::strerror(errno);
}

// ---- the process

class KeeperProcess {
 public:
  explicit KeeperProcess(const KeeperOptions& options) : options_(options) {}

  [[noreturn]] void run() {
    ::prctl(PR_SET_NAME, "drover-keeper");
    open_oom_score();
    set_up_engine_log();
    if (options_.confine) {
      if (const auto confined = options_.confine(); !confined) give_up(confined.error());
    }
    prepare();
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &child, &unblocked_);
    struct sigaction wake {};
    wake.sa_handler = [](int) {};
    wake.sa_flags = SA_NOCLDSTOP;
    ::sigaction(SIGCHLD, &wake, nullptr);
    report({.kind = KeeperReport::Kind::kReady});
    while (true) {
      reap();
      send_reports();
      const auto events = static_cast<short>(unsent_.empty() ? POLLIN : POLLIN | POLLOUT);
      pollfd wait = {kSocket, events, 0};
      if (::ppoll(&wait, 1, nullptr, &unblocked_) > 0 && (wait.revents & ~POLLOUT) != 0) take_order();
    }
  }

 private:
  // A worker inherits its score. If the machine is short of memory, the kernel is to kill workers first and their
  // keeper as late as the runner, which ends with it. Opened before the sandbox, in which no file can be opened.
  void open_oom_score() {
    oom_score_ = ::open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    std::array<char, 16> text{};
    const ssize_t got = oom_score_ < 0 ? 0 : ::pread(oom_score_, text.data(), text.size(), 0);
    own_oom_score_.assign(text.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  }

  void set_oom_score(std::string_view score) const {
    if (!own_oom_score_.empty()) (void)!::write(oom_score_, score.data(), score.size());
  }

  // The model's own chat template is untrusted too, and its analysis runs it.
  void prepare() {
    ModelOptions options;
    options.path = options_.model_path;
    options.shard_paths = options_.shard_paths;
    options.vocabulary_only = true;
    auto model = LlamaModel::load(options);
    if (!model) give_up(model.error());
    model_ = std::move(*model);
    report({.kind = KeeperReport::Kind::kVocabulary});
    end_at_limits();
    limit_memory(options_.memory_max);
    if (!options_.with_template) return;
    limit_processor(options_.template_seconds);
    auto chat = ChatTemplate::create(*model_, options_.template_override);
    if (!chat) give_up(chat.error());
    chat_ = std::move(*chat);
    limit_processor(0);
  }

  [[noreturn]] static void give_up(const Error& error) {
    report({.kind = KeeperReport::Kind::kFailed,
            .message = error.message,
            .invalid = error.code == ErrorCode::kInvalidArgument});
    ::_exit(1);
  }

  static std::string message_of(const KeeperReport& from) {
    ReportMessage message{};
    message.kind = from.kind;
    message.invalid = from.invalid;
    message.worker = from.worker.value;
    message.status = from.end.status;
    message.text_size = static_cast<std::uint32_t>(std::min(from.message.size(), kTextBytesMax));
    std::memcpy(message.text, from.message.data(), message.text_size);
    const std::size_t size = sizeof message - (from.message.empty() ? kTextBytesMax : 0);
    return {reinterpret_cast<const char*>(&message), size};
  }

  // Reports that precede the first order.
  static void report(const KeeperReport& from) {
    const std::string message = message_of(from);
    while (::send(kSocket, message.data(), message.size(), MSG_NOSIGNAL) < 0) {
      if (errno != EINTR) ::_exit(0);  // the runner has gone
    }
  }

  void report_ended(WorkerId worker, const LimitedEnd& end) {
    unsent_.push_back(message_of({.kind = KeeperReport::Kind::kEnded, .worker = worker, .end = end}));
  }

  // Sends as many reports as the runner accepts. The runner may itself wait until its next order is read.
  void send_reports() {
    while (!unsent_.empty()) {
      const std::string& message = unsent_.front();
      if (::send(kSocket, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
        unsent_.pop_front();
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return;
      } else if (errno != EINTR) {
        ::_exit(0);  // the runner has gone
      }
    }
  }

  void reap() {
    int status = 0;
    pid_t process = 0;
    while ((process = ::waitpid(-1, &status, WNOHANG)) > 0) {
      const auto found =
          std::find_if(workers_.begin(), workers_.end(), [&](auto& each) { return each.second == process; });
      if (found == workers_.end()) continue;
      const WorkerId worker = found->first;
      workers_.erase(found);
      report_ended(worker, end_of(status));
    }
  }

  void take_order() {
    OrderMessage message{};
    iovec bytes = {&message, sizeof message};
    alignas(cmsghdr) char extra[CMSG_SPACE(sizeof(int))];
    msghdr header{};
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = extra;
    header.msg_controllen = sizeof extra;
    const ssize_t size = ::recvmsg(kSocket, &header, MSG_CMSG_CLOEXEC);
    if (size < 0 && errno == EINTR) return;
    if (size != sizeof message) ::_exit(0);  // the runner is gone; the workers end with this process
    const WorkerId worker{message.worker};
    if (message.order == Keeper::Order::kStart) {
      const cmsghdr* control = CMSG_FIRSTHDR(&header);
      if (control == nullptr || control->cmsg_type != SCM_RIGHTS) return;
      int socket = -1;
      std::memcpy(&socket, CMSG_DATA(control), sizeof socket);
      start(worker, socket);
      ::close(socket);
      return;
    }
    // A process that has ended and is not reaped yet keeps its number, so no other process has it.
    if (const auto found = workers_.find(worker); found != workers_.end()) signal(message.order, found->second);
  }

  static void signal(Keeper::Order order, pid_t process) {
    switch (order) {
      case Keeper::Order::kStop:
        ::kill(process, SIGSTOP);
        break;
      case Keeper::Order::kContinue:
        ::kill(process, SIGCONT);
        break;
      case Keeper::Order::kYield:
        ::setpriority(PRIO_PROCESS, static_cast<id_t>(process), kYieldNiceness);
        break;
      case Keeper::Order::kKill:
        ::kill(process, SIGKILL);
        break;
      case Keeper::Order::kStart:
        break;
    }
  }

  void report_unstarted(WorkerId worker) { report_ended(worker, {.status = 1 << 8}); }

  void start(WorkerId worker, int socket) {
    const pid_t keeper = ::getpid();
    int detached[2];
    if (::pipe2(detached, O_CLOEXEC) != 0) return report_unstarted(worker);
    set_oom_score(kFirstToKill);
    const pid_t process = ::fork();
    if (process != 0) {
      set_oom_score(own_oom_score_);
      ::close(detached[1]);
      // Waits until detach() has closed the other end: a worker that is stopped before that would outlive this process.
      char none = 0;
      while (process > 0 && ::read(detached[0], &none, 1) < 0 && errno == EINTR) continue;
      ::close(detached[0]);
      if (process < 0) return report_unstarted(worker);
      workers_.emplace(worker, process);
      return;
    }
    detach(keeper, socket);
    ::signal(SIGCHLD, SIG_DFL);
    ::sigprocmask(SIG_SETMASK, &unblocked_, nullptr);
    ::prctl(PR_SET_NAME, "drover-prepare");
    // Templates ask for the date. If TZ is set, the C library reads the time zone once and opens no file later.
    ::setenv("TZ", ":/etc/localtime", 0);
    ::tzset();
    expect_engine_errors(true);  // errors belong to requests and are sent to their clients
    if (!enter_prepare_sandbox(wanted_sandbox())) ::_exit(1);
    run_worker(*model_, chat_.get(), options_.request_seconds);
  }

  const KeeperOptions& options_;
  std::unique_ptr<LlamaModel> model_;
  std::unique_ptr<ChatTemplate> chat_;
  std::unordered_map<WorkerId, pid_t> workers_;  // not reaped yet
  std::deque<std::string> unsent_;               // reports
  int oom_score_ = -1;                           // this process's file of that name
  std::string own_oom_score_;                    // empty: unknown
  sigset_t unblocked_{};
};

}  // namespace

// ---- the runner's end

Result<std::unique_ptr<Keeper>> Keeper::start(const KeeperOptions& options) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return internal(system_error("socketpair"));
  const pid_t runner = ::getpid();
  const pid_t process = ::fork();
  if (process == 0) {
    leave_work_page();
    detach(runner, ends[1]);
    KeeperProcess(options).run();
  }
  const int failed = errno;
  ::close(ends[1]);
  if (process < 0) {
    ::close(ends[0]);
    return internal(std::string("fork: ") + std::strerror(failed));
  }
  return std::unique_ptr<Keeper>(new Keeper(options, ends[0], process));
}

Keeper::~Keeper() {
  ::close(socket_);
  if (reaped_) return;
  // From inside a sandbox the kill may fail. The keeper ends with this process at the latest.
  if (::kill(process_, SIGKILL) == 0) ::waitpid(process_, nullptr, 0);
}

Result<bool> Keeper::ready(bool wait) {
  while (!ready_) {
    if (failed_) return *failed_;
    auto report = next_report(wait);
    if (!report) return failed_.emplace(std::move(report).error());
    if (!*report) return false;
    if ((*report)->kind == KeeperReport::Kind::kFailed) {
      return failed_.emplace((*report)->invalid ? invalid((*report)->message) : internal((*report)->message));
    }
    has_vocabulary_ = true;
    ready_ = (*report)->kind == KeeperReport::Kind::kReady;
  }
  return true;
}

Result<std::optional<KeeperReport>> Keeper::next_report(bool wait) {
  ReportMessage message{};
  ssize_t size = 0;
  do {
    size = ::recv(socket_, &message, sizeof message, wait ? 0 : MSG_DONTWAIT);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::optional<KeeperReport>();
  if (size < static_cast<ssize_t>(sizeof message - kTextBytesMax)) return how_it_ended();
  KeeperReport report{.kind = message.kind, .invalid = message.invalid, .worker = {message.worker}};
  report.message.assign(message.text, std::min<std::size_t>(message.text_size, kTextBytesMax));
  report.end = end_of(message.status);
  return std::optional(std::move(report));
}

// The error of a model's load whose keeper ends meanwhile.
Error Keeper::how_it_ended() {
  int status = 0;
  if (!reaped_) ::waitpid(process_, &status, 0);
  reaped_ = true;
  const LimitedEnd end = end_of(status);
  if (ready_) return internal("the process that prepares requests has ended: " + describe(end));
  if (!has_vocabulary_) return internal("the model's vocabulary cannot be loaded: " + describe(end));
  const std::string which = "the model's chat template cannot be used: it ";
  switch (end.how) {
    case LimitedEnd::How::kProcessor:
      return invalid(which + "takes too long");
    case LimitedEnd::How::kMemory:
      return invalid(which + "takes too much memory");
    case LimitedEnd::How::kStack:
      return invalid(which + "is nested too deeply");
    case LimitedEnd::How::kOther:
      break;
  }
  return invalid(which + "ends its process: " + describe(end));
}

Result<int> Keeper::start_worker(WorkerId worker) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return internal(system_error("socketpair"));
  OrderMessage message{.order = Order::kStart, .worker = worker.value};
  iovec bytes = {&message, sizeof message};
  alignas(cmsghdr) char extra[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &bytes;
  header.msg_iovlen = 1;
  header.msg_control = extra;
  header.msg_controllen = sizeof extra;
  cmsghdr* control = CMSG_FIRSTHDR(&header);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(control), &ends[1], sizeof(int));
  const ssize_t sent = ::sendmsg(socket_, &header, MSG_NOSIGNAL);
  const int failed = errno;
  ::close(ends[1]);
  if (sent == sizeof message) return ends[0];
  ::close(ends[0]);
  return internal(std::string("sendmsg: ") + std::strerror(failed));
}

void Keeper::order(Order order, WorkerId worker) {
  const OrderMessage message{.order = order, .worker = worker.value};
  // If the keeper is gone, next_report() returns the error.
  (void)::send(socket_, &message, sizeof message, MSG_NOSIGNAL);
}

}  // namespace drover
