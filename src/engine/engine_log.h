// Sends llama.cpp's log to spdlog and keeps its last error: llama.cpp explains a failed load only in its log.
#pragma once

#include <string>

namespace drover {

// Once per process, before any other call of llama.cpp.
void set_up_engine_log();

// While true, llama.cpp's errors are logged at debug level: the caller expects them. Any thread.
void expect_engine_errors(bool expected);

// The last error since the previous call; empty: none. Any thread.
std::string take_last_engine_error();

}  // namespace drover
