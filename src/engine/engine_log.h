// What llama.cpp logs: it goes to spdlog, and the last error is kept, for llama.cpp explains a failed load nowhere
// else.
#pragma once

#include <string>

namespace drover {

// Once per process, before anything else of llama.cpp is called.
void set_up_engine_log();

// While true, llama.cpp's errors are of no interest, for it was told to abort. Any thread.
void expect_engine_errors(bool expected);

// The last error since the previous call; empty: there was none. Any thread.
std::string take_last_engine_error();

}  // namespace drover
