#include "fleet/runner_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "base/frame.h"
#include "process/child.h"

namespace drover {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

// A longer line of a runner's log is cut into several.
constexpr std::size_t kLogLineBytesMax = 8 << 10;
constexpr auto kEndGrace = std::chrono::seconds(3);

std::string system_error(const char* what) {
  return std::string(what) + ": " + std::strerror(errno);
}

RunnerEnd describe_exit(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return {"exit code " + std::to_string(info.si_status), {}, false};
  const int number = info.si_status;
  const bool own = number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL || number == SIGABRT ||
                   number == SIGSYS || number == SIGTRAP;
  return {"signal " + std::to_string(number) + " (" + ::strsignal(number) + ")", {}, !own};
}

}  // namespace

RunnerProcess::RunnerProcess(asio::io_context& io, Events events)
    : io_(io), events_(std::move(events)), socket_(io), exit_watch_(io), log_(io) {}

Result<std::shared_ptr<RunnerProcess>> RunnerProcess::start(asio::io_context& io, const std::string& executable,
                                                            Events events) {
  const Result<Child> child =
      spawn(executable, {"drover", "runner", "--descriptor", "3"}, {.socket = true, .may_lose = true});
  if (!child) return child.error();
  std::shared_ptr<RunnerProcess> runner(new RunnerProcess(io, std::move(events)));
  runner->pid_ = child->pid;
  runner->socket_.assign(asio::local::stream_protocol(), child->socket);
  runner->log_.assign(child->output);
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, child->pid, 0));
  if (pidfd < 0) {
    const std::string why = system_error("pidfd_open");
    ::kill(child->pid, SIGKILL);
    ::waitpid(child->pid, nullptr, 0);
    runner->exited_ = true;
    return internal(why);
  }
  ::fcntl(pidfd, F_SETFD, FD_CLOEXEC);
  runner->exit_watch_.assign(pidfd);
  if (auto shared = runner->share_work_page(); !shared) return std::move(shared).error();
  runner->watch_exit();
  runner->read_header();
  runner->read_log();
  return runner;
}

Result<void> RunnerProcess::share_work_page() {
  auto page = WorkPage::create();
  if (!page) return std::move(page).error();
  work_ = std::move(*page);
  return work_.send(socket_.native_handle());
}

RunnerProcess::~RunnerProcess() {
  if (!exited_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

void RunnerProcess::send(const pb::ToRunner& message) {
  const std::size_t size = message.ByteSizeLong();
  const auto header = frame_header(size);
  std::string frame(header.data(), header.size());
  message.AppendToString(&frame);
  outgoing_.push_back(std::move(frame));
  if (outgoing_.size() == 1) write_next();
}

void RunnerProcess::write_next() {
  asio::async_write(socket_, asio::buffer(outgoing_.front()),
                    [self = shared_from_this()](error_code error, std::size_t) {
                      if (error) return;  // the end of the input tells
                      self->outgoing_.pop_front();
                      if (!self->outgoing_.empty()) self->write_next();
                    });
}

void RunnerProcess::read_header() {
  asio::async_read(socket_, asio::buffer(header_), [self = shared_from_this()](error_code error, std::size_t) {
    if (error) return self->on_input_end();
    const std::size_t size = frame_size(self->header_);
    if (size > kFrameBytesMax) {
      self->kill();
      return self->on_input_end();
    }
    self->read_body(size);
  });
}

void RunnerProcess::read_body(std::size_t size) {
  body_.resize(size);
  asio::async_read(socket_, asio::buffer(body_), [self = shared_from_this()](error_code error, std::size_t) {
    if (error) return self->on_input_end();
    if (!self->message_.ParseFromString(self->body_)) {
      self->kill();
      return self->on_input_end();
    }
    self->events_.on_message(self->message_);
    self->read_header();
  });
}

void RunnerProcess::ask_to_end() {
  error_code ignored;
  socket_.shutdown(asio::local::stream_protocol::socket::shutdown_send, ignored);
  auto timer = std::make_shared<asio::steady_timer>(io_, kEndGrace);
  timer->async_wait([weak = weak_from_this(), timer](error_code error) {
    if (const auto self = weak.lock(); self && !error) self->kill();
  });
}

void RunnerProcess::kill() {
  if (!exited_) ::kill(pid_, SIGKILL);
}

bool RunnerProcess::is_stopped() const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
  std::string text;
  std::getline(file, text);
  // The name, in parentheses, may hold anything; the state follows it.
  const auto name_end = text.rfind(')');
  return name_end != std::string::npos && name_end + 2 < text.size() &&
         (text[name_end + 2] == 'T' || text[name_end + 2] == 't');
}

std::uint64_t RunnerProcess::resident_bytes() const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/statm");
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  if (!(file >> total_pages >> resident_pages)) return 0;
  return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

void RunnerProcess::watch_exit() {
  exit_watch_.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](error_code error) {
    if (error) return;
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(self->pid_), &info, WEXITED);
    self->exited_ = true;
    self->end_ = describe_exit(info);
    self->end_.culprit = self->work_.culprit();
    self->report_gone_if_done();
  });
}

void RunnerProcess::on_input_end() {
  input_ended_ = true;
  // A runner that closed its socket but lives on is of no use to anyone.
  kill();
  report_gone_if_done();
}

void RunnerProcess::report_gone_if_done() {
  if (!exited_ || !input_ended_) return;
  error_code ignored;
  socket_.close(ignored);
  exit_watch_.close(ignored);
  events_.on_message = nullptr;
  if (auto gone = std::exchange(events_.on_gone, nullptr)) gone(end_);
}

// ---- the log

// Until the end of the pipe, which is when the process and all that it may have started have ended.
void RunnerProcess::read_log() {
  log_.async_read_some(asio::buffer(log_bytes_), [self = shared_from_this()](error_code error, std::size_t size) {
    self->take_log({self->log_bytes_.data(), size});
    if (!error) return self->read_log();
    if (!self->log_line_.empty()) self->take_log("\n");
  });
}

void RunnerProcess::take_log(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    log_line_ += bytes.substr(0, end);
    const bool whole = end != std::string_view::npos;
    if (whole || log_line_.size() > kLogLineBytesMax) {
      if (events_.on_log && !log_line_.empty()) events_.on_log(log_line_);
      log_line_.clear();
    }
    bytes.remove_prefix(whole ? end + 1 : bytes.size());
  }
}

}  // namespace drover
