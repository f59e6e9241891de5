#include "replay/ledger.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace drover {

double Waits::mean() const {
  if (seconds_.empty()) return 0;
  return std::accumulate(seconds_.begin(), seconds_.end(), 0.0) / static_cast<double>(seconds_.size());
}

double Waits::quantile(double share) const {
  if (seconds_.empty()) return 0;
  std::vector<double> sorted = seconds_;
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  const std::size_t at = std::clamp<std::size_t>(rank, 1, sorted.size()) - 1;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(at), sorted.end());
  return sorted[at];
}

void Ledger::arrived(const Arrival& arrival, TimePoint now) {
  ++outcome_.arrived;
  if (!arrival.load_only) waiting_[arrival.request] = {arrival.client, now};
}

void Ledger::decided(const Action& action, TimePoint now) {
  if (const auto* dispatch = std::get_if<Dispatch>(&action)) {
    const auto found = waiting_.find(dispatch->request);
    if (found == waiting_.end()) return;  // it has had a slot before
    const double seconds = to_seconds(now - found->second.since);
    outcome_.waits.add(seconds);
    outcome_.clients[found->second.client].add(seconds);
    waiting_.erase(found);
  } else if (const auto* refuse = std::get_if<Refuse>(&action)) {
    ++outcome_.refused;
    waiting_.erase(refuse->request);
  } else if (const auto* fail = std::get_if<Fail>(&action)) {
    ++(fail->error.code == ErrorCode::kTimedOut ? outcome_.timed_out : outcome_.failed);
    waiting_.erase(fail->request);
  }
}

}  // namespace drover
