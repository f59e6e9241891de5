// Finds how many of a conversation's oldest messages must be dropped so that the rest fits in the context. Pure.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/result.h"

namespace drover {

// Whether the conversation fits without its first `dropped` droppable messages. A call is expensive.
using FitsWithout = std::function<bool(std::size_t dropped)>;

// The least number of messages to drop, oldest first, given the sizes of all droppable messages; all of them if even
// that is not enough. Precondition: the whole conversation does not fit. Assumption: if it fits, it also fits with one
// message less. `size_over`: the estimated excess, in the unit of the sizes; the search starts there. Calls `fits` at
// most 2 * log2(sizes.size()) + 2 times.
std::size_t messages_to_drop(const std::vector<double>& sizes, double size_over, const FitsWithout& fits);

}  // namespace drover
