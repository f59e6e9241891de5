// Starts this program again, as a process that is to know nothing of the server but what it is told.
#pragma once

#include <sys/types.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drover {

// The entries of an environment, "NAME=value", that such a process may see: what the engine, drivers of GPUs, the C
// library and sanitizers read, and of Drover's own settings those of children. Who knows a secret has it elsewhere.
bool child_may_see(std::string_view entry);

// Runs `arguments`, of which the first is a name for lists of processes. Its input is empty; of descriptors it has
// those that are given, as its 1 (output), 2 (errors) and 3; one below 0 is /dev/null for the former and nothing for 3.
// Any thread. Error: kInternal with the system's reason.
Result<pid_t> start_child(const std::string& executable, std::vector<std::string> arguments,
                          const std::array<int, 3>& descriptors);

}  // namespace drover
