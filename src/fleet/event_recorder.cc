#include "fleet/event_recorder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "policy/event_record.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

// What waits is written when it is so much, or after so long.
constexpr std::size_t kWriteBytes = 64 << 10;
constexpr auto kWriteInterval = 1s;
constexpr auto kEndWait = 1s;
// Steps of a runner are told more often than a replay needs them.
constexpr Duration kProgressInterval = 1s;

bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(descriptor, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

}  // namespace

struct EventRecorder::State {
  State(int file, std::function<void(std::string)> told) : descriptor(file), say(std::move(told)) {}
  ~State() { ::close(descriptor); }

  void write_until_end();
  void stop(const std::string& why) {
    say(fmt::format("the recording of events (DROVER_RECORD) has ended early: {}", why));
  }

  const int descriptor;
  const std::function<void(std::string)> say;
  Mutex mutex;
  std::condition_variable changed;
  std::string waiting GUARDED_BY(mutex);
  bool ending GUARDED_BY(mutex) = false;
  bool failed GUARDED_BY(mutex) = false;  // nothing is written any more
  bool done GUARDED_BY(mutex) = false;
};

void EventRecorder::State::write_until_end() {
  std::string text;
  MutexLock lock(mutex);
  while (!failed && !(ending && waiting.empty())) {
    const TimePoint due = Clock::now() + kWriteInterval;
    while (!ending && !failed && waiting.size() < kWriteBytes && Clock::now() < due) lock.wait_until(changed, due);
    text.clear();
    text.swap(waiting);
    if (failed || text.empty()) continue;
    lock.unlock();
    const bool written = write_all(descriptor, text);
    const int error = errno;
    lock.lock();
    if (written || std::exchange(failed, true)) continue;
    lock.unlock();
    stop(std::strerror(error));
    lock.lock();
  }
  done = true;
  changed.notify_all();
}

EventRecorder::EventRecorder(int descriptor, const DispatcherConfig& config, Bounds bounds,
                             std::function<void(std::string)> say, TimePoint now)
    : bounds_(bounds), began_(now), state_(std::make_shared<State>(descriptor, std::move(say))) {
  std::random_device device;
  salt_ = fmt::format("{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
  add(record_head(config));
  std::thread([state = state_] { state->write_until_end(); }).detach();
}

EventRecorder::~EventRecorder() {
  State& state = *state_;
  const TimePoint latest = Clock::now() + kEndWait;
  MutexLock lock(state.mutex);
  state.ending = true;
  state.changed.notify_all();
  while (!state.done && Clock::now() < latest) lock.wait_until(state.changed, latest);
}

void EventRecorder::record(const Event& event, TimePoint now, const Names& names) {
  if (stopped_ || !is_worth_a_line(event, now)) return;
  RecordedEvent recorded{now - began_, event, std::string(names.model)};
  if (auto* admit = std::get_if<event::Admit>(&recorded.event)) {
    admit->arrival.client = client_of(admit->arrival, names);
  }
  add(record_line(recorded));
}

bool EventRecorder::is_worth_a_line(const Event& event, TimePoint now) {
  if (const auto* gone = std::get_if<event::RunnerGone>(&event)) progress_.erase(gone->runner);
  const auto* progress = std::get_if<event::Progress>(&event);
  if (progress == nullptr) return true;
  const auto [last, is_new] = progress_.try_emplace(progress->runner, now);
  if (!is_new && now - last->second < kProgressInterval) return false;
  last->second = now;
  return true;
}

// What tells clients apart may be their key: it is shown as elsewhere, with a number that says nothing of it.
std::string EventRecorder::client_of(const Arrival& arrival, const Names& names) const {
  const auto number = static_cast<std::uint32_t>(std::hash<std::string>{}(salt_ + arrival.client));
  return fmt::format("{}~{:08x}", names.client, number);
}

void EventRecorder::add(std::string line) {
  State& state = *state_;
  std::string why;
  {
    const MutexLock lock(state.mutex);
    if (state.failed) {
      stopped_ = true;  // its thread has said so
    } else if (bytes_ + line.size() > bounds_.file_bytes_max) {
      why = fmt::format("the file is as long as it may become, {} MiB", bounds_.file_bytes_max >> 20);
      state.ending = true;
    } else if (state.waiting.size() + line.size() > bounds_.waiting_bytes_max) {
      why = "the file does not take what is written to it";
      state.failed = true;
    } else {
      bytes_ += line.size();
      state.waiting += line;
    }
    if (!why.empty() || state.waiting.size() >= kWriteBytes) state.changed.notify_all();
  }
  if (why.empty()) return;
  stopped_ = true;
  state.stop(why);
}

Result<int> open_record(const std::string& path) {
  const auto failure = [&](const char* what) {
    return internal(fmt::format("cannot record events to {}: {}: {}", path, what, std::strerror(errno)));
  };
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0 &&
      ::rename(path.c_str(), (path + ".old").c_str()) != 0)
    return failure("rename");
  // Without O_NONBLOCK, to open a pipe that nobody reads would not end.
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (descriptor < 0) return failure("open");
  if (::fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode)) return descriptor;
  ::close(descriptor);
  return internal(fmt::format("cannot record events to {}: it is no file", path));
}

}  // namespace drover
