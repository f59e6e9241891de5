// `drover serve`: puts the server together and runs it until it is told to stop.
#pragma once

#include <string>
#include <vector>

namespace drover::server {

// `executable`: this program, which is started again for each runner. `engine`: lines about the engine, for the log.
// Returns the exit code.
int serve(const std::string& executable, const std::vector<std::string>& engine);

}  // namespace drover::server
