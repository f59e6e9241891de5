#include "process/child.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "sandbox/child_process.h"

namespace drover {
namespace {

// What a child that must not wait may write while we do something else.
constexpr int kLossyPipeBytes = 1 << 20;

Error system_error(const char* what) {
  return internal(std::string(what) + ": " + std::strerror(errno));
}

// Two connected descriptors. What is not taken is closed.
struct Ends {
  int ours = -1;
  int childs = -1;
  Ends() = default;
  Ends(const Ends&) = delete;
  Ends& operator=(const Ends&) = delete;
  ~Ends() {
    if (ours >= 0) ::close(ours);
    if (childs >= 0) ::close(childs);
  }
};

}  // namespace

Result<Child> spawn(const std::string& executable, std::vector<std::string> arguments, const ChildOptions& options) {
  Ends socket;
  int pair[2];
  if (options.socket) {
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return system_error("socketpair");
    socket.ours = pair[0];
    socket.childs = pair[1];
  }
  Ends output;
  if (::pipe2(pair, O_CLOEXEC) != 0) return system_error("pipe2");
  output.ours = pair[0];
  output.childs = pair[1];
  if (options.may_lose) {
    ::fcntl(output.childs, F_SETPIPE_SZ, kLossyPipeBytes);
    ::fcntl(output.childs, F_SETFL, O_NONBLOCK);
  }
  const auto pid = start_child(executable, std::move(arguments), {output.childs, output.childs, socket.childs});
  if (!pid) return pid.error();
  return Child{*pid, std::exchange(output.ours, -1), std::exchange(socket.ours, -1)};
}

}  // namespace drover
