#include "base/work_page.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <thread>

namespace drover {
namespace {

using namespace std::chrono_literals;

struct End {
  int signal = 0;  // that it died of
  RequestId culprit;
};

pid_t start(WorkPage& page, const std::function<void()>& work) {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);  // a sanitizer's handler ends a process otherwise
    receive_work_page(ends[1]);
    work();
    ::_exit(0);
  }
  EXPECT_TRUE(page.send(ends[0]).ok());
  for (const int end : ends) ::close(end);
  return child;
}

// Runs `work` as a runner would, in a process of its own.
End end_of(const std::function<void()>& work) {
  auto page = WorkPage::create();
  EXPECT_TRUE(page.ok());
  const pid_t child = start(*page, work);
  int status = 0;
  ::waitpid(child, &status, 0);
  return {WIFSIGNALED(status) ? WTERMSIG(status) : 0, page->culprit()};
}

void crash() {
  ::raise(SIGSEGV);
}

int overflow_stack(int depth) {
  volatile char room[4096] = {};
  return depth < 0 ? room[0] : overflow_stack(depth + 1) + room[1];
}

TEST(WorkPage, TellsWhoseWorkCrashed) {
  const End end = end_of([] {
    const AtWork at_work(RequestId{17});
    crash();
  });
  EXPECT_EQ(end.signal, SIGSEGV);
  EXPECT_EQ(end.culprit, RequestId{17});
}

// The front would end with SIGBUS as it reads.
TEST(WorkPage, CannotBeCutOff) {
  auto page = WorkPage::create();
  ASSERT_TRUE(page.ok());
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  ASSERT_TRUE(page->send(ends[0]).ok());
  char byte = 0;
  iovec piece{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ASSERT_EQ(::recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC), 1);
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptor);
  EXPECT_NE(::ftruncate(descriptor, 0), 0);
  EXPECT_EQ(page->culprit(), RequestId{});
  for (const int each : {descriptor, ends[0], ends[1]}) ::close(each);
}

TEST(WorkPage, EachThreadHasItsOwn) {
  const End end = end_of([] {
    const AtWork engine(RequestId{1});
    std::thread([] {
      const AtWork output(RequestId{2});
      std::thread([] {
        const AtWork other(RequestId{3});
        { const AtWork inner(RequestId{4}); }
        std::abort();
      }).join();
    }).join();
  });
  EXPECT_EQ(end.signal, SIGABRT);
  EXPECT_EQ(end.culprit, RequestId{3});
}

TEST(WorkPage, AThreadWithoutADeskComputesForTheFirstOne) {
  const End end = end_of([] {
    const AtWork engine(RequestId{5});
    std::thread(crash).join();
  });
  EXPECT_EQ(end.culprit, RequestId{5});
}

TEST(WorkPage, AStackThatOverflowsIsACrashLikeAnother) {
  const End end = end_of([] {
    const AtWork at_work(RequestId{6});
    overflow_stack(0);
  });
  EXPECT_EQ(end.signal, SIGSEGV);
  EXPECT_EQ(end.culprit, RequestId{6});
}

TEST(WorkPage, SeveralAtOnceAndASignalFromOutsideBlameNobody) {
  EXPECT_EQ(end_of([] {
              const AtWork alone(RequestId{7});
              const AtWork several(RequestId{});
              crash();
            }).culprit,
            RequestId{});
  const End sent = end_of([] {
    const AtWork at_work(RequestId{8});
    const pid_t victim = ::getpid();
    if (::fork() == 0) {
      ::kill(victim, SIGSEGV);
      ::_exit(0);
    }
    while (true) ::pause();
  });
  EXPECT_EQ(sent.signal, SIGSEGV);
  EXPECT_EQ(sent.culprit, RequestId{});
}

TEST(WorkPage, TellsAtWhatAThreadHasBeenForLongest) {
  auto page = WorkPage::create();
  ASSERT_TRUE(page.ok());
  const pid_t child = start(*page, [] {
    const AtWork first(RequestId{9});
    std::thread([] {
      const AtWork second(RequestId{10});
      while (true) ::pause();
    }).join();
  });
  while (page->stuck_at(Clock::now()) != RequestId{9}) std::this_thread::yield();
  EXPECT_EQ(page->stuck_at(Clock::now() - 1h), RequestId{});
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(page->culprit(), RequestId{});
}

}  // namespace
}  // namespace drover
