// How the log looks.
#pragma once

#include "base/settings.h"

namespace drover::cli {

// The server's log goes to standard error. kText: "2026-11-22T17:14:30.123 INFO  …", with "[model] " before what a
// runner says; kJson: one object a line, with "time", "level", and "message", "model" or a request's fields.
void set_up_server_log(LogFormat format, bool debug);

// A runner's log goes to its server, which reads the level from the front of each line.
void set_up_runner_log(bool debug);

}  // namespace drover::cli
