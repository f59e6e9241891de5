// How many of a conversation's oldest messages have to go, so that the rest fits into the context. Pure.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/result.h"

namespace drover {

// Whether the conversation fits without its first `dropped` messages that may go; asking is expensive.
using FitsWithout = std::function<bool(std::size_t dropped)>;

// The least number of messages to drop, of those whose sizes are given, oldest first; all of them if that does not
// suffice either. It is known that with all of them the conversation does not fit, and taken for granted that it fits
// if it does with one message more. `size_over`: by how much it is too large, in the unit of the sizes; an estimate,
// which decides where the search begins. Asks at most 2 * log2(sizes.size()) + 2 times.
std::size_t messages_to_drop(const std::vector<double>& sizes, double size_over, const FitsWithout& fits);

}  // namespace drover
