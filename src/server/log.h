// How the log looks, and the way it takes: each message is one line, in which nothing that a stranger sent can begin
// another or do something to a terminal.
#pragma once

#include <memory>

#include "base/settings.h"

namespace drover::server {

class LineWriter;

// The server's log, from here to the end of its scope. It goes to standard error. kText: "2026-11-22T17:14:30.123
// INFO  …", with "[model] " before what a runner says; kJson: one object a line, with "time", "level", and "message",
// "model" or a request's fields. Whoever logs does not wait: lines that a stuck reader does not take are counted. At
// the end of the scope, and when the process crashes, what is not written yet has a moment.
class ServerLog {
 public:
  ServerLog(LogFormat format, bool debug);
  ~ServerLog();
  ServerLog(const ServerLog&) = delete;
  ServerLog& operator=(const ServerLog&) = delete;

 private:
  const std::shared_ptr<LineWriter> writer_;
};

// A runner's log goes to its server, which reads the level from the front of each line.
void set_up_runner_log(bool debug);

}  // namespace drover::server
