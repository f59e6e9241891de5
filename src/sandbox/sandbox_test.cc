// What a process gets that is in a sandbox and tries: sandbox_probe.cc has the attempts.
#include "sandbox/sandbox.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "base/descriptor.h"
#include "sandbox/child_process.h"
#include "sandbox/sanitized.h"

namespace drover {
namespace {

namespace fs = std::filesystem;

using Attempts = std::map<std::string, std::string>;

// A folder with a model, and listeners on a port of TCP and on an abstract name.
class SandboxTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "drover-sandbox-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    for (const char* name : {"model", "other", "target"}) std::ofstream(folder_ / name) << "bytes";
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::bind(tcp_.value(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(tcp_.value(), 8), 0);
    socklen_t size = sizeof address;
    ::getsockname(tcp_.value(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = std::to_string(ntohs(address.sin_port));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    port_.copy(name.sun_path + 1, port_.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + port_.size());
    ASSERT_EQ(::bind(abstract_.value(), reinterpret_cast<sockaddr*>(&name), length), 0);
    ASSERT_EQ(::listen(abstract_.value(), 8), 0);
    ::setenv("HOME", folder_.c_str(), 1);
    ::unsetenv("XDG_CACHE_HOME");
    ::unsetenv("DROVER_SANDBOX");
  }
  void TearDown() override { fs::remove_all(folder_); }

  // What the probe says, by the names of its attempts.
  Attempts probe(const std::string& profile) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const auto pid =
        start_child(DROVER_SANDBOX_PROBE, {"probe", "try", profile, folder_.string(), port_}, {ends[1], ends[1], -1});
    ::close(ends[1]);
    const Descriptor output(ends[0]);
    EXPECT_TRUE(pid.ok());
    std::string text;
    char buffer[4096];
    for (ssize_t count = 0; (count = ::read(output.value(), buffer, sizeof buffer)) > 0;) {
      text.append(buffer, static_cast<std::size_t>(count));
    }
    int status = 0;
    ::waitpid(*pid, &status, 0);
    EXPECT_EQ(status, 0) << text;
    Attempts attempts;
    std::istringstream lines(text);
    for (std::string name, result; lines >> name && std::getline(lines >> std::ws, result);) attempts[name] = result;
    return attempts;
  }

  // All that was tried is refused but for what is named.
  static void expect_refused_but(Attempts attempts, std::set<std::string> allowed) {
    EXPECT_EQ(attempts.erase("secret"), 1u);
    if (kSanitized) {
      allowed.insert({"personality", "parent_command_line"});
      EXPECT_EQ(attempts.erase("push_input"), 1u);       // the call reaches its input, which is no terminal
      EXPECT_EQ(attempts.erase("parent_affinity"), 1u);  // a sanitizer's thread may set its own, and in a worker any
    }
    for (const auto& [name, result] : attempts) {
      if (allowed.count(name) > 0) {
        EXPECT_EQ(result, "ok") << name;
      } else {
        EXPECT_TRUE(result == "EPERM" || result == "EACCES" || result == "ENOSYS") << name << ": " << result;
      }
    }
    for (const std::string& name : allowed) EXPECT_EQ(attempts.count(name), 1u) << name;
    EXPECT_EQ(attempts.count("exec"), 1u) << "the last attempt";
  }

  fs::path folder_;
  std::string port_;
  Descriptor tcp_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  Descriptor abstract_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

const std::set<std::string> kComputing = {"read_model", "stream_pair", "core_is_off",   "fork",
                                          "make_code",  "make_memory", "turn_into_code"};

std::set<std::string> with(std::set<std::string> names, const std::set<std::string>& more) {
  names.insert(more.begin(), more.end());
  return names;
}

TEST_F(SandboxTest, ThisKernelHasAllOfIt) {
  const SandboxSupport support = sandbox_support();
  EXPECT_EQ(support.missing, std::vector<std::string>());
  EXPECT_GE(support.landlock, 1);
  EXPECT_EQ(support.parts(), "seccomp, Landlock " + std::to_string(support.landlock));
}

TEST_F(SandboxTest, WithoutItTheAttemptsSucceed) {
  ::setenv("DROVER_SANDBOX", "off", 1);
  const Attempts attempts = probe("runner");
  for (const char* name : {"read_other", "read_passwd", "write_model", "connect_tcp", "connect_abstract", "kill_parent",
                           "parent_environ", "parent_limits", "memory_file"}) {
    EXPECT_EQ(attempts.at(name), "ok") << name;
  }
  EXPECT_EQ(attempts.count("exec"), 0u) << "a program that is executed takes the probe's place";
}

TEST_F(SandboxTest, ARunnerReadsItsModelAndNothingElse) {
  ::setenv("DROVER_SANDBOX", "require", 1);
  expect_refused_but(probe("runner"), kComputing);
}

TEST_F(SandboxTest, AQuantizerWritesItsTargetToo) {
  ::setenv("DROVER_SANDBOX", "require", 1);
  expect_refused_but(probe("quantize"), with(kComputing, {"write_target"}));
}

TEST_F(SandboxTest, WhoComputesOnDevicesHasACacheAndMemoryFiles) {
  ::setenv("DROVER_SANDBOX", "require", 1);
  Attempts attempts = probe("gpu");
  EXPECT_EQ(attempts["push_input"], "ENOTTY");  // devices are spoken to so, and its input is none
  if (!kSanitized) attempts.erase("push_input");
  expect_refused_but(attempts, with(kComputing, {"memory_file"}));
  EXPECT_TRUE(fs::is_directory(folder_ / ".cache/drover-gpu"));
}

TEST_F(SandboxTest, AWorkerOpensNothingAndStartsNothing) {
  Attempts attempts = probe("prepare");
  if (!kSanitized) {
    attempts.erase("core_is_off");  // its parent's business
    return expect_refused_but(attempts, {"make_memory"});
  }
  for (const char* name : {"connect_tcp", "exec", "mount", "unshare_user", "setuid", "io_uring", "memory_file"}) {
    EXPECT_EQ(attempts.at(name), "EPERM") << name;
  }
}

TEST_F(SandboxTest, AWorkerMayBeInsideARunnersSandbox) {
  ::setenv("DROVER_SANDBOX", "require", 1);
  const pid_t child = ::fork();
  if (child == 0) {
    SandboxRules rules;
    rules.readable = {(folder_ / "model").string()};
    if (!enter_sandbox(rules, SandboxMode::kRequire)) ::_exit(1);
    if (::open((folder_ / "model").c_str(), O_RDONLY) < 0) ::_exit(2);
    if (!enter_prepare_sandbox(SandboxMode::kRequire)) ::_exit(3);
    ::_exit(kSanitized || ::open((folder_ / "model").c_str(), O_RDONLY) < 0 ? 0 : 4);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(SandboxTest, AChildSeesNoSecretAndNoDescriptor) {
  ::setenv("PROBE_SECRET", "x", 1);
  const int left_open = ::open("/etc/passwd", O_RDONLY);  // without O_CLOEXEC
  Attempts attempts = probe("runner");
  ::close(left_open);
  ::unsetenv("PROBE_SECRET");
  EXPECT_EQ(attempts["secret"], "none");
  EXPECT_EQ(attempts.count("descriptor"), 0u) << attempts["descriptor"];
}

TEST(ChildEnvironment, IsWhatChildrenRead) {
  for (const char* entry :
       {"DROVER_CPU_VARIANT=haswell", "DROVER_SANDBOX=require", "OLLAMA_DEBUG=1", "CUDA_VISIBLE_DEVICES=0",
        "ROCR_VISIBLE_DEVICES=1", "GGML_VK_VISIBLE_DEVICES=0,0", "VK_ICD_FILENAMES=/x", "LC_ALL=C.UTF-8", "LANG=C",
        "TZ=UTC", "HOME=/root", "XDG_CACHE_HOME=/c", "LD_LIBRARY_PATH=/opt", "ASAN_OPTIONS=x", "TSAN_OPTIONS="}) {
    EXPECT_TRUE(child_may_see(entry)) << entry;
  }
  for (const char* entry : {"SECRET=x", "AWS_SECRET_ACCESS_KEY=x", "OLLAMA_HOST=x", "OLLAMA_MODELS=/x",
                            "OLLAMA_API_KEY=x", "DROVER_PIN=x", "NOTIFY_SOCKET=/run/x", "SSH_AUTH_SOCK=/x", "PATH=/bin",
                            "LD_PRELOAD=x.so", "HOMEX=1", "https_proxy=http://u:p@x", "", "=", "TZ2=1"}) {
    EXPECT_FALSE(child_may_see(entry)) << entry;
  }
}

}  // namespace
}  // namespace drover
