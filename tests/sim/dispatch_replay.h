// dispatch_sim --replay: a recorded day, told to the policy again under the same or other settings.
#pragma once

#include <string_view>
#include <vector>

namespace drover::sim {

inline constexpr const char* kReplayUsage =
    "dispatch_sim --replay FILE [--parallel N] [--max-queue N] [--max-loaded-models N] [--request-timeout SECONDS] "
    "[--weight CLIENT=WEIGHT]...";

// The program's exit status: 0: there is an answer; 1: the file cannot be read; 2: the arguments are wrong; 3: the
// record cannot answer.
int replay(const std::vector<std::string_view>& arguments);

}  // namespace drover::sim
