// The front's end of a runner: whose fault it was that the process ended. The runner is this program itself.
#include "fleet/runner_process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "base/frame.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

constexpr int kDescriptor = 3;  // of a runner

// What it is to do comes in its first frame.
[[noreturn]] void be_runner() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGSEGV, SIG_DFL);  // a sanitizer's handler ends a process otherwise
  receive_work_page(kDescriptor);
  std::array<char, kFrameHeaderBytes> header;
  if (::read(kDescriptor, header.data(), header.size()) != static_cast<ssize_t>(header.size())) ::_exit(1);
  std::string frame(frame_size(header), '\0');
  pb::ToRunner message;
  if (::read(kDescriptor, frame.data(), frame.size()) < 0 || !message.ParseFromString(frame)) ::_exit(1);
  const AtWork at_work(RequestId{message.cancel().request()});
  if (message.kind_case() == pb::ToRunner::kCancel) ::raise(SIGSEGV);
  const AtWork waits(RequestId{18});
  while (true) ::pause();
}

// Before main(): this program, started as `drover runner …`, is one.
__attribute__((constructor)) void look_at_arguments(int count, char** arguments, char**) {
  if (count > 1 && std::string_view(arguments[1]) == "runner") be_runner();
}

class RunnerProcessTest : public ::testing::Test {
 protected:
  void start(const pb::ToRunner& first) {
    std::error_code error;
    auto started = RunnerProcess::start(
        io_, std::filesystem::read_symlink("/proc/self/exe", error),
        {.on_message = [](pb::FromRunner&) {}, .on_gone = [this](const RunnerEnd& end) { end_ = end; }, .on_log = {}});
    ASSERT_TRUE(started.ok()) << started.error().message;
    runner_ = *started;
    runner_->send(first);
  }
  void run_until(const std::function<bool()>& condition) {
    while (!condition()) io_.run_one_for(10ms);
  }
  const RunnerEnd& end() {
    run_until([this] { return end_.has_value(); });
    return *end_;
  }

  boost::asio::io_context io_;
  std::shared_ptr<RunnerProcess> runner_;
  std::optional<RunnerEnd> end_;
};

TEST_F(RunnerProcessTest, ACrashTellsAtWhoseWork) {
  pb::ToRunner crash;
  crash.mutable_cancel()->set_request(17);
  start(crash);
  EXPECT_EQ(end().how.substr(0, 8), "signal 1") << end().how;
  EXPECT_EQ(end().culprit, RequestId{17});
  EXPECT_FALSE(end().from_outside);
}

TEST_F(RunnerProcessTest, OneThatStandsStillTellsAtWhatAndWhetherSomebodyStoppedIt) {
  pb::ToRunner wait;
  wait.mutable_share()->set_runners(1);
  start(wait);
  run_until([this] { return runner_->stuck_at(Clock::now()) == RequestId{18}; });
  EXPECT_EQ(runner_->stuck_at(Clock::now() - 1h), RequestId{});
  EXPECT_FALSE(runner_->is_stopped());
  ::kill(runner_->pid(), SIGSTOP);
  run_until([this] { return runner_->is_stopped(); });
  ::kill(runner_->pid(), SIGKILL);
  EXPECT_EQ(end().how.substr(0, 8), "signal 9");
  EXPECT_EQ(end().culprit, RequestId{});
  EXPECT_TRUE(end().from_outside);
}

TEST_F(RunnerProcessTest, ASignalThatSomebodySentConvictsNobody) {
  pb::ToRunner wait;
  wait.mutable_share()->set_runners(1);
  start(wait);
  run_until([this] { return runner_->stuck_at(Clock::now()) == RequestId{18}; });
  ::kill(runner_->pid(), SIGSEGV);
  EXPECT_EQ(end().culprit, RequestId{});
  EXPECT_FALSE(end().from_outside);
}

}  // namespace
}  // namespace drover
