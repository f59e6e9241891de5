// `drover serve`: puts the server together and runs it until it is told to stop.
#pragma once

#include <string>

namespace drover::cli {

// `executable`: this program, which is started again for each runner. Returns the exit code.
int serve(const std::string& executable);
}  // namespace drover::cli
