// A runner as the front holds it: a child process and the socket pair to it. I/O thread only; never blocks.
#pragma once

#include <sys/types.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/work_page.h"
#include "runner.pb.h"

namespace drover {

// How a runner's process has ended.
struct RunnerEnd {
  std::string how;            // "exit code 1", "signal 9 (Killed)"…
  RequestId culprit;          // whose work it crashed at; none: nobody knows
  bool from_outside = false;  // somebody has killed it: a user, the system for want of memory, or the front
};

class RunnerProcess : public std::enable_shared_from_this<RunnerProcess> {
 public:
  struct Events {
    std::function<void(pb::FromRunner&)> on_message;
    // The process has ended; the last call of all. Messages it had sent come before.
    std::function<void(const RunnerEnd& end)> on_gone;
    // A line that it wrote to its output or standard error; these may come after on_gone, so this must own what it
    // uses.
    std::function<void(std::string_view line)> on_log;
  };

  // Starts `executable runner --descriptor 3`, which is sent a WorkPage first. Error: kInternal with the system's
  // reason.
  static Result<std::shared_ptr<RunnerProcess>> start(boost::asio::io_context& io, const std::string& executable,
                                                      Events events);
  ~RunnerProcess();

  void send(const pb::ToRunner& message);
  // Closes the runner's input, upon which it ends by itself; kills it if it has not done so a little later.
  void ask_to_end();
  void kill();
  pid_t pid() const { return pid_; }
  // The request at which one of its threads has been since `before` or longer; none: there is no such.
  RequestId stuck_at(TimePoint before) const { return work_.stuck_at(before); }
  // Somebody holds it still, so that it cannot but make no progress.
  bool is_stopped() const;
  // Memory of the process that is in RAM now, in bytes; 0: unknown.
  std::uint64_t resident_bytes() const;

 private:
  RunnerProcess(boost::asio::io_context& io, Events events);
  Result<void> share_work_page();
  void read_header();
  void read_body(std::size_t size);
  void write_next();
  void watch_exit();
  void on_input_end();
  void report_gone_if_done();
  void read_log();
  void take_log(std::string_view bytes);

  boost::asio::io_context& io_;
  Events events_;
  boost::asio::local::stream_protocol::socket socket_;
  boost::asio::posix::stream_descriptor exit_watch_;  // a pidfd: readable once the process has ended
  boost::asio::posix::stream_descriptor log_;
  std::array<char, 16'384> log_bytes_{};
  std::string log_line_;  // has no end yet
  pid_t pid_ = 0;
  std::array<char, 4> header_{};
  std::string body_;
  pb::FromRunner message_;
  std::deque<std::string> outgoing_;
  bool input_ended_ = false;
  bool exited_ = false;
  WorkPage work_;
  RunnerEnd end_;
};

}  // namespace drover
