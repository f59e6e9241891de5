// How much memory this process and its children may use.
#pragma once

#include <cstdint>

namespace drover {

// Bytes that can be had now without swapping: what the system says is available, or less where a control group sets a
// limit. 0: unknown.
std::uint64_t available_memory_bytes();

}  // namespace drover
