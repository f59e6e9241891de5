// Starts this program again as a child whose output is read through a pipe, and which may be talked to over a socket.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"

namespace drover {

// The child, and our ends of what connects us. All of them are the caller's: to be closed, and to be waited for.
struct Child {
  pid_t pid = 0;
  int output = -1;  // what it writes to its output and to its standard error
  int socket = -1;  // the other end of its descriptor 3; -1: it has none
};

struct ChildOptions {
  bool socket = false;    // give it a Unix stream socket as its descriptor 3
  bool may_lose = false;  // it never waits for us to read its output: what is too much at once is lost
};

// Starts `executable` as start_child() of sandbox/child_process.h does; the first of `arguments` is a name for lists of
// processes. Any thread. Error: kInternal with the system's reason, and nothing is left over.
Result<Child> spawn(const std::string& executable, std::vector<std::string> arguments, const ChildOptions& options);

}  // namespace drover
