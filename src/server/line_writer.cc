#include "server/line_writer.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

namespace drover::server {
namespace {

// So much is handed to the system at once, so that a burst of lines is not as many calls.
constexpr std::size_t kBatchBytesMax = 64 << 10;

// What the reader does not take because it has gone, or because the disk is full, is lost.
void write_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd ready{descriptor, POLLOUT, 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return;
    }
  }
}

bool is_socket(int descriptor) {
  struct stat status {};
  return ::fstat(descriptor, &status) == 0 && S_ISSOCK(status.st_mode);
}

// Writes what can be written without waiting: how many bytes. A pipe that is ready has room for PIPE_BUF bytes.
std::size_t write_at_once(int descriptor, bool socket, std::string_view bytes) {
  ssize_t written = 0;
  if (socket) {
    written = ::send(descriptor, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  } else if (bytes.size() <= PIPE_BUF) {
    pollfd ready{descriptor, POLLOUT, 0};
    if (::poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) return 0;
    written = ::write(descriptor, bytes.data(), bytes.size());
  }
  return written > 0 ? static_cast<std::size_t>(written) : 0;
}

}  // namespace

struct LineWriter::State {
  State(int to, Bounds within, std::function<std::string(std::uint64_t)> about)
      : descriptor(to), socket(is_socket(to)), terminal(::isatty(to) == 1), bounds(within), notice(std::move(about)) {}

  void add(std::string line) {
    bytes += line.size();
    ++unwritten;
    lines.push_back(std::move(line));
  }

  void add_notice() {
    if (left_out > 0) add(notice(std::exchange(left_out, 0)));
  }

  // The thread's life.
  void run() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return ended || !lines.empty(); });
      if (lines.empty()) return;
      std::string batch;
      std::size_t count = 0;
      while (!lines.empty() && batch.size() < kBatchBytesMax) {
        batch += lines.front();
        lines.pop_front();
        ++count;
      }
      lock.unlock();
      write_all(descriptor, batch);
      lock.lock();
      bytes -= batch.size();
      unwritten -= count;
      if (lines.empty()) add_notice();
      if (unwritten == 0) drained.notify_all();
    }
  }

  const int descriptor;
  const bool socket;
  const bool terminal;
  const Bounds bounds;
  const std::function<std::string(std::uint64_t)> notice;
  std::mutex mutex;
  std::condition_variable changed;
  std::condition_variable drained;
  std::deque<std::string> lines;
  std::size_t bytes = 0;  // of lines, and of what is being written
  std::uint64_t left_out = 0;
  std::atomic<std::size_t> unwritten{0};
  bool ended = false;
};

LineWriter::LineWriter(int descriptor, Bounds bounds, std::function<std::string(std::uint64_t)> notice)
    : state_(std::make_shared<State>(descriptor, bounds, std::move(notice))) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the other threads
  std::thread([state = state_] { state->run(); }).detach();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LineWriter::~LineWriter() {
  const std::lock_guard lock(state_->mutex);
  state_->ended = true;
  state_->changed.notify_all();
}

void LineWriter::write(std::string line) {
  State& state = *state_;
  {
    const std::lock_guard lock(state.mutex);
    if (state.unwritten >= state.bounds.lines_max || state.bytes + line.size() > state.bounds.bytes_max) {
      ++state.left_out;
      return;
    }
    // As a rule the reader keeps up. A terminal that has room for a byte need not have it for a line.
    if (state.unwritten == 0 && state.left_out == 0 && !state.terminal) {
      const std::size_t written = write_at_once(state.descriptor, state.socket, line);
      if (written == line.size()) return;
      line.erase(0, written);
    }
    state.add_notice();
    state.add(std::move(line));
  }
  state.changed.notify_one();
}

bool LineWriter::finish(Duration at_most) {
  std::unique_lock lock(state_->mutex);
  return state_->drained.wait_for(lock, at_most, [this] { return state_->unwritten == 0; });
}

const std::atomic<std::size_t>& LineWriter::unwritten() const {
  return state_->unwritten;
}

}  // namespace drover::server
