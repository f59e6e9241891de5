// How much memory this process and its children may use.
#pragma once

#include <cstdint>
#include <filesystem>

namespace drover {

// Bytes that can be had now without swapping: what the system says is available, or less where a control group, or one
// that it is in, sets a limit. 0: unknown. `root`: the folder that /proc and /sys are in.
std::uint64_t available_memory_bytes(const std::filesystem::path& root = "/");

}  // namespace drover
