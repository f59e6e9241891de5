// `drover runner`: the child process that owns one model. See ARCHITECTURE.md for its threads.
#pragma once

namespace drover {

// Serves the front at the other end of `descriptor` until the front is gone. Returns the exit code.
int run_runner(int descriptor);

}  // namespace drover
