#include "prepare/prepare_driver.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/failed.h"
#include "base/frame.h"

namespace drover {
namespace {

// For kWatchful after the last request, the thread wakes up every kWatch to see whether a new request needs watching.
constexpr Duration kWatchful = std::chrono::seconds(1);
constexpr Duration kWatch = std::chrono::milliseconds(25);

// A worker's answer gets memory as it comes, not as its header says.
constexpr std::size_t kAnswerPart = 1u << 20;

RequestId request_of(const pb::PrepareWork& work) {
  return {work.has_embed() ? work.embed().request() : work.generate().request()};
}

ClientId client_of(const pb::PrepareWork& work) {
  return {work.has_embed() ? work.embed().client() : work.generate().client()};
}

// Drops the large fields that only the worker needs.
void drop_input(pb::Generate& work) {
  work.clear_context();
  work.clear_format();
  if (!work.has_chat()) return work.clear_input();
  work.mutable_chat()->clear_messages();
  work.mutable_chat()->clear_tools_json();
  work.mutable_chat()->clear_go_template();
}

Error too_slow(std::string_view how_long) {
  return invalid(
      fmt::format("the request takes too long to prepare, more than {}: its prompt, schema or tools are too "
                  "large, or the model's template does not end",
                  how_long));
}

Error error_of(const LimitedEnd& end, const KeeperOptions& limits) {
  switch (end.how) {
    case LimitedEnd::How::kProcessor:
      return too_slow(fmt::format("{} s of the processor", limits.request_seconds));
    case LimitedEnd::How::kMemory:
      return invalid(
          fmt::format("the request takes too much memory to prepare, more than {} MiB: its prompt, schema or "
                      "tools are too large",
                      limits.memory_max >> 20));
    case LimitedEnd::How::kStack:
      return invalid("the request is nested too deeply");
    case LimitedEnd::How::kOther:
      break;
  }
  return internal("the process that prepared the request has ended: " + describe(end));
}

}  // namespace

PrepareDriver::PrepareDriver(Keeper& keeper, const PrepareLimits& limits, Events events)
    : keeper_(keeper),
      events_(std::move(events)),
      limits_(limits),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      pool_(limits) {
  act();  // starts the first worker
}

PrepareDriver::~PrepareDriver() {
  for (const auto& [worker, line] : lines_) {
    if (line.socket >= 0) ::close(line.socket);
  }
  ::close(wake_);
}

// ---- any thread

void PrepareDriver::add(pb::PrepareWork work) {
  requests_.fetch_add(1, std::memory_order_relaxed);
  const RequestId request = request_of(work);
  const ClientId client = client_of(work);
  auto job = std::make_unique<Job>();
  const auto header = frame_header(work.ByteSizeLong());
  job->frame.reserve(header.size() + work.ByteSizeLong());
  job->frame.assign(header.data(), header.size());
  work.AppendToString(&job->frame);
  if (work.has_embed()) {
    work.mutable_embed()->clear_texts();
  } else {
    drop_input(*work.mutable_generate());
  }
  job->work = std::move(work);
  bool must_wake = false;
  {
    const MutexLock lock(mutex_);
    jobs_[request] = std::move(job);
    pool_.add(request, client, Clock::now());
    act();
    must_wake = must_wake_;
  }
  if (must_wake) wake();
}

void PrepareDriver::cancel(RequestId request) {
  cancels_.post(request);
  wake();
}

void PrepareDriver::close() {
  closed_.store(true);
  wake();
}

void PrepareDriver::wake() {
  const std::uint64_t one = 1;
  (void)!::write(wake_, &one, sizeof one);
}

// ---- the thread

void PrepareDriver::run() {
  while (!closed_.load()) {
    wait();
    progress_.fetch_add(1, std::memory_order_relaxed);
    take_cancels();
    {
      const MutexLock lock(mutex_);
      pool_.advance(Clock::now());
      act();
      end_unstarted();
    }
    deliver_failures();
  }
}

void PrepareDriver::take_cancels() {
  cancels_.drain(canceled_, false);
  for (const RequestId request : canceled_) {
    bool here = false;
    {
      const MutexLock lock(mutex_);
      here = pool_.cancel(request, Clock::now());
      act();
      if (here) take_job(request);
    }
    events_.on_canceled(request, here);
  }
}

// Waits for a worker, the keeper, a cancel, or the pool's next time.
void PrepareDriver::wait() {
  std::vector<pollfd> polled = {{wake_, POLLIN, 0}, {keeper_.descriptor(), POLLIN, 0}};
  std::vector<WorkerId> workers;
  Duration pause = Duration::max();
  {
    const MutexLock lock(mutex_);
    for (const auto& [worker, line] : lines_) {
      const bool writes = line.out != nullptr && line.sent < line.out->size();
      polled.push_back({line.socket, static_cast<short>(writes ? POLLIN | POLLOUT : POLLIN), 0});
      workers.push_back(worker);
    }
    const TimePoint now = Clock::now();
    if (!jobs_.empty()) last_work_ = now;
    // The next request then need not wake this thread.
    if (now - last_work_ < kWatchful) pause = kWatch;
    if (const TimePoint next = pool_.wakes_at(); next != kNever) {
      pause = std::min(pause, std::max(next - now, Duration::zero()));
    }
    must_wake_ = pause == Duration::max();
  }
  // Rounded up, so that the event is due after the wait.
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(std::min<Duration>(pause, kWatch)).count();
  const int timeout = pause == Duration::max() ? -1 : static_cast<int>(milliseconds);
  if (::poll(polled.data(), polled.size(), timeout) <= 0) return;
  std::uint64_t ignored = 0;
  if (polled[0].revents != 0) (void)!::read(wake_, &ignored, sizeof ignored);
  for (std::size_t i = 0; i < workers.size(); ++i) {
    const short events = polled[i + 2].revents;
    if ((events & POLLOUT) != 0) {
      const MutexLock lock(mutex_);
      if (const auto found = lines_.find(workers[i]); found != lines_.end()) send(found->second);
    }
    if ((events & ~POLLOUT) != 0) on_readable(workers[i]);
  }
  if (polled[1].revents != 0) take_reports();
}

void PrepareDriver::take_reports() {
  while (true) {
    auto report = keeper_.next_report();
    if (!report) {
      spdlog::error("{}", report.error().message);
      // The keeper works on no request, so no request is the cause. After a SIGKILL the front repeats the runner's
      // requests.
      ::raise(SIGKILL);
    }
    if (!*report) return;
    if ((*report)->kind == KeeperReport::Kind::kEnded) on_ended(**report);
  }
}

void PrepareDriver::on_ended(const KeeperReport& report) {
  on_readable(report.worker);  // it may have answered before it ended
  const MutexLock lock(mutex_);
  const auto request = pool_.ended(report.worker, Clock::now());
  drop(report.worker);
  act();
  if (!request) return;
  if (report.end.how == LimitedEnd::How::kOther) {
    spdlog::error("request {}: the process that prepared it has ended: {}", request->value, describe(report.end));
  }
  fail(*request, error_of(report.end, keeper_.options()));
}

void PrepareDriver::on_readable(WorkerId worker) {
  std::string bytes;
  {
    const MutexLock lock(mutex_);
    const auto found = lines_.find(worker);  // an action for another worker may have ended this one
    if (found == lines_.end() || !receive(found->second)) return;
    found->second.got = 0;
    found->second.out = nullptr;
    bytes.swap(found->second.in);
  }
  on_answer(worker, std::string_view(bytes).substr(kFrameHeaderBytes));
}

void PrepareDriver::on_answer(WorkerId worker, std::string_view bytes) {
  pb::PrepareAnswer answer;
  const bool good = answer.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  std::unique_ptr<Job> job;
  {
    const MutexLock lock(mutex_);
    const auto request = pool_.answered(worker, !good || answer.retire(), Clock::now());
    act();  // the worker starts the next request while this one is delivered
    if (!request) return;
    if (!good) return fail(*request, internal("the process that prepared the request sent an invalid answer"));
    if (answer.has_failed()) return fail(*request, read_error(answer.failed()));
    job = take_job(*request);
  }
  try {
    events_.on_answer(job->work, answer);
  } catch (const std::exception& error) {
    events_.on_failed(request_of(job->work), internal(error.what()));
  }
}

void PrepareDriver::deliver_failures() {
  std::vector<Failure> failures;
  {
    const MutexLock lock(mutex_);
    failures.swap(failures_);
  }
  for (const Failure& failure : failures) events_.on_failed(failure.request, failure.error);
}

// ---- with mutex_ locked

void PrepareDriver::act() {
  for (const PoolAction& action : pool_.take_actions()) {
    switch (action.kind) {
      case PoolAction::Kind::kStart:
        start(action.worker);
        break;
      case PoolAction::Kind::kGive: {
        Line& line = lines_[action.worker];
        line.out = &jobs_.at(action.request)->frame;
        line.sent = 0;
        send(line);
        break;
      }
      case PoolAction::Kind::kStop:
        keeper_.order(Keeper::Order::kStop, action.worker);
        break;
      case PoolAction::Kind::kContinue:
        keeper_.order(Keeper::Order::kContinue, action.worker);
        break;
      case PoolAction::Kind::kYield:
        keeper_.order(Keeper::Order::kYield, action.worker);
        break;
      case PoolAction::Kind::kKill:
        keeper_.order(Keeper::Order::kKill, action.worker);
        drop(action.worker);
        break;
      case PoolAction::Kind::kTimeOut:
        fail(action.request, too_slow(fmt::format("{:.0f} s", to_seconds(limits_.time_max))));
        break;
    }
  }
}

void PrepareDriver::start(WorkerId worker) {
  auto socket = keeper_.start_worker(worker);
  if (!socket) {
    spdlog::error("cannot start a process to prepare requests: {}", socket.error().message);
    unstarted_.push_back(worker);
  }
  lines_[worker].socket = socket ? *socket : -1;
  must_wake_ = true;
}

void PrepareDriver::end_unstarted() {
  while (!unstarted_.empty()) {
    const WorkerId worker = unstarted_.back();
    unstarted_.pop_back();
    const auto request = pool_.ended(worker, Clock::now());
    drop(worker);
    act();
    if (request) fail(*request, internal("no process to prepare the request can be started"));
  }
}

void PrepareDriver::send(Line& line) {
  while (line.out != nullptr && line.sent < line.out->size()) {
    const ssize_t put =
        ::send(line.socket, line.out->data() + line.sent, line.out->size() - line.sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) break;  // the socket is full, or the worker has ended, which the keeper reports
    line.sent += static_cast<std::size_t>(put);
  }
  must_wake_ |= line.out != nullptr && line.sent < line.out->size();
}

// Reads what has arrived. True: the answer is complete.
bool PrepareDriver::receive(Line& line) {
  while (line.socket >= 0) {
    std::size_t wanted = kFrameHeaderBytes;
    if (line.got >= kFrameHeaderBytes) {
      std::array<char, kFrameHeaderBytes> header;
      std::copy_n(line.in.data(), header.size(), header.data());
      wanted += std::min(frame_size(header), kFrameBytesMax);
    }
    if (line.got == wanted && wanted > kFrameHeaderBytes) return true;
    const std::size_t room = std::min(wanted, line.got + kAnswerPart);
    if (line.in.size() < room) line.in.resize(room);
    const ssize_t got = ::recv(line.socket, line.in.data() + line.got, room - line.got, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    if (got <= 0) {
      ::close(std::exchange(line.socket, -1));
      return false;
    }
    line.got += static_cast<std::size_t>(got);
  }
  return false;
}

void PrepareDriver::drop(WorkerId worker) {
  const auto found = lines_.find(worker);
  if (found == lines_.end()) return;
  if (found->second.socket >= 0) ::close(found->second.socket);
  lines_.erase(found);
}

void PrepareDriver::fail(RequestId request, Error error) {
  take_job(request);
  failures_.push_back({request, std::move(error)});
  must_wake_ = true;
}

std::unique_ptr<PrepareDriver::Job> PrepareDriver::take_job(RequestId request) {
  auto node = jobs_.extract(request);
  if (node.empty()) return nullptr;
  requests_.fetch_sub(1, std::memory_order_relaxed);
  return std::move(node.mapped());
}

}  // namespace drover
