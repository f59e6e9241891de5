// Starts this program again as a child process that inherits nothing from the server except what it is given.
#pragma once

#include <sys/types.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drover {

// Whether a child may see an environment entry "NAME=value". Allowed are the variables of the engine, GPU drivers, the
// C library and sanitizers, and Drover's settings for children. Variables that may hold secrets are not.
bool child_may_see(std::string_view entry);

// Runs `executable` with `arguments`; the first argument is its name in process lists. Its input is empty.
// `descriptors` become its descriptors 1 (output), 2 (errors) and 3; a negative one becomes /dev/null (1, 2) or stays
// closed (3). Any thread. Error: kInternal with the system's reason.
Result<pid_t> start_child(const std::string& executable, std::vector<std::string> arguments,
                          const std::array<int, 3>& descriptors);

}  // namespace drover
