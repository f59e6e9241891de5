// `drover serve`: puts the server together and runs it until it is told to stop.
#pragma once

#include <string>

namespace drover::cli {

// `executable`: this program, which is started again for each runner. Returns the exit code.
int serve(const std::string& executable);

// Logs to standard error, lines as "2026-11-22T17:14:30.123 INFO  …"; `who` stands in front of the text if not empty.
void set_up_log(bool debug, const std::string& who);

}  // namespace drover::cli
