#include "prepare/message_cut.h"

#include <algorithm>

namespace drover {
namespace {

// The smallest number of dropped messages whose sizes add up to `size_over`.
std::size_t estimate(const std::vector<double>& sizes, double size_over) {
  std::size_t dropped = 0;
  while (dropped < sizes.size() && size_over > 0) size_over -= sizes[dropped++];
  return dropped;
}

}  // namespace

std::size_t messages_to_drop(const std::vector<double>& sizes, double size_over, const FitsWithout& fits) {
  std::size_t too_few = 0;            // this number does not fit
  std::size_t enough = sizes.size();  // this number fits, or is all messages
  std::size_t step = 1;
  // Searches from the estimate in growing steps, until the answer lies between two tested numbers.
  std::size_t next = std::max<std::size_t>(estimate(sizes, size_over), 1);
  const bool upwards = next < enough && !fits(next);
  if (next < enough) (upwards ? too_few : enough) = next;
  while (enough - too_few > 1) {
    next = upwards ? too_few + step : enough - std::min(step, enough);
    if (next <= too_few || next >= enough) break;
    step *= 2;
    const bool fit = fits(next);
    (fit ? enough : too_few) = next;
    if (fit == upwards) break;
  }
  while (enough - too_few > 1) {
    next = too_few + (enough - too_few) / 2;
    (fits(next) ? enough : too_few) = next;
  }
  return enough;
}

}  // namespace drover
