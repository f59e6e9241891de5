#include "server/service_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <map>

namespace drover::server {
namespace {

ServiceManager manager_of(const std::map<std::string, std::string>& variables) {
  return ServiceManager([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

// The socket of a service manager. `name` as in NOTIFY_SOCKET.
class Listener {
 public:
  explicit Listener(const std::string& name) : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    std::size_t bytes = name.size() + 1;
    if (name.front() == '@') {
      address.sun_path[0] = '\0';
      --bytes;
    }
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes);
    bound_ = ::bind(socket_, reinterpret_cast<const sockaddr*>(&address), length) == 0;
  }
  ~Listener() { ::close(socket_); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  bool bound() const { return bound_; }
  // The next message; "" if there is none.
  std::string next() {
    std::array<char, 256> bytes{};
    const ssize_t count = ::recv(socket_, bytes.data(), bytes.size(), 0);
    return count > 0 ? std::string(bytes.data(), static_cast<std::size_t>(count)) : "";
  }

 private:
  int socket_;
  bool bound_ = false;
};

TEST(ServiceManager, WithoutOneNothingIsSaid) {
  for (const ServiceManager& manager : {manager_of({}), manager_of({{"NOTIFY_SOCKET", ""}})}) {
    EXPECT_FALSE(manager.listens());
    EXPECT_TRUE(manager.tell("READY=1"));
  }
}

TEST(ServiceManager, SpeaksToAPathAndToAnAbstractName) {
  const std::string path = ::testing::TempDir() + "notify-" + std::to_string(::getpid());
  for (const std::string& name : {path, "@drover-test/" + std::to_string(::getpid())}) {
    Listener listener(name);
    ASSERT_TRUE(listener.bound()) << name;
    const ServiceManager manager = manager_of({{"NOTIFY_SOCKET", name}});
    EXPECT_TRUE(manager.listens());
    EXPECT_TRUE(manager.tell("READY=1\nSTATUS=listening"));
    EXPECT_EQ(listener.next(), "READY=1\nSTATUS=listening");
    EXPECT_EQ(listener.next(), "");
  }
  ::unlink(path.c_str());
}

TEST(ServiceManager, ALongestAbstractNameIsReachedAndALongerOneIsAnError) {
  std::string name = "@" + std::string(sizeof(sockaddr_un::sun_path) - 1, 'x');
  name.replace(1, 20, std::to_string(::getpid()) + std::string(20 - std::to_string(::getpid()).size(), '-'));
  Listener listener(name);
  ASSERT_TRUE(listener.bound());
  EXPECT_TRUE(manager_of({{"NOTIFY_SOCKET", name}}).tell("READY=1"));
  EXPECT_EQ(listener.next(), "READY=1");
  EXPECT_FALSE(manager_of({{"NOTIFY_SOCKET", name + "x"}}).tell("READY=1"));
  EXPECT_FALSE(manager_of({{"NOTIFY_SOCKET", "/" + std::string(sizeof(sockaddr_un::sun_path) - 1, 'x')}}).tell("x"));
}

TEST(ServiceManager, NobodyThereIsAnError) {
  EXPECT_FALSE(manager_of({{"NOTIFY_SOCKET", "/nowhere/notify"}}).tell("READY=1"));
  EXPECT_FALSE(manager_of({{"NOTIFY_SOCKET", "@drover-test/nobody"}}).tell("READY=1"));
  EXPECT_FALSE(manager_of({{"NOTIFY_SOCKET", "relative"}}).tell("READY=1"));
  EXPECT_FALSE(manager_of({{"NOTIFY_SOCKET", "vsock:2:9999"}}).tell("READY=1"));
}

TEST(ServiceManager, TheWatchdogWantsASignTwiceInItsTime) {
  const auto interval = [](std::map<std::string, std::string> variables) {
    variables.emplace("NOTIFY_SOCKET", "/run/notify");
    return manager_of(variables).watchdog_interval();
  };
  EXPECT_EQ(interval({{"WATCHDOG_USEC", "3000000"}}), Duration(std::chrono::milliseconds(1500)));
  EXPECT_EQ(interval({{"WATCHDOG_USEC", "3000000"}, {"WATCHDOG_PID", std::to_string(::getpid())}}),
            Duration(std::chrono::milliseconds(1500)));
  EXPECT_EQ(interval({{"WATCHDOG_USEC", "3000000"}, {"WATCHDOG_PID", "1"}}), std::nullopt);
  EXPECT_EQ(interval({}), std::nullopt);
  for (const char* wrong : {"0", "", "soon", "-5", "18446744073709551615", "99999999999999999999", "5 "}) {
    EXPECT_EQ(interval({{"WATCHDOG_USEC", wrong}}), std::nullopt) << wrong;
  }
}

TEST(ServiceManager, WhatWeStartDoesNotSpeakForUs) {
  ::setenv("NOTIFY_SOCKET", "@drover-test/environment", 1);
  ::setenv("WATCHDOG_USEC", "1000000", 1);
  const ServiceManager manager = ServiceManager::from_environment();
  EXPECT_TRUE(manager.listens());
  EXPECT_TRUE(manager.watchdog_interval());
  EXPECT_EQ(::getenv("NOTIFY_SOCKET"), nullptr);
  EXPECT_EQ(::getenv("WATCHDOG_USEC"), nullptr);
}

}  // namespace
}  // namespace drover::server
