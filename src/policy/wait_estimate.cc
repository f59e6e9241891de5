#include "policy/wait_estimate.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <queue>
#include <utility>

namespace drover {
namespace {

using Seconds = std::chrono::duration<double>;

// One that outlasts all that is remembered may end at any time; the longer it has lasted, the longer it may go on.
constexpr int kOverdueShare = 10;
// So many of the latest services say how long a token takes, beside those that run: this changes with the load.
constexpr std::size_t kSpeedFromMax = 16;

}  // namespace

void ServiceHistory::add(const EndedService& service) {
  latest_[next_] = service;
  next_ = (next_ + 1) % kRememberedMax;
  size_ = std::min(size_ + 1, kRememberedMax);
}

// What a history says of services that are not over. Made for one moment.
class ServiceForecast {
 public:
  ServiceForecast(const ServiceHistory& history, std::span<const RunningService> running)
      : services_(history.latest_.begin(), history.latest_.begin() + static_cast<std::ptrdiff_t>(history.size_)),
        seconds_per_token_(measured_speed(history, running)) {
    std::sort(services_.begin(), services_.end(), [](const EndedService& a, const EndedService& b) {
      return std::pair(a.tokens, a.end) < std::pair(b.tokens, b.end);
    });
    double tokens = 0;
    double ends = 0;
    for (const EndedService& service : services_) {
      tokens += static_cast<double>(service.tokens);
      ends += service.end == ServiceEnd::kByItself ? 1 : 0;
    }
    tokens_mean_ = tokens / static_cast<double>(services_.size());
    if (tokens > 0) ends_per_token_ = ends / tokens;
  }

  Duration left(const RunningService& service) const {
    Seconds seconds(tokens_left(service) * seconds_per_token_);
    if (!service.output) seconds += until_output(service.elapsed);
    const Duration left = std::chrono::duration_cast<Duration>(seconds);
    return service.limits.time ? std::min(left, time_left(service)) : left;
  }

 private:
  static double measured_speed(const ServiceHistory& history, std::span<const RunningService> running) {
    double seconds = 0;
    std::int64_t tokens = 0;
    for (std::size_t back = 1; back <= std::min(history.size_, kSpeedFromMax); ++back) {
      const std::size_t at = (history.next_ + ServiceHistory::kRememberedMax - back) % ServiceHistory::kRememberedMax;
      seconds += Seconds(history.latest_[at].output).count();
      tokens += std::max<std::int64_t>(history.latest_[at].tokens - 1, 0);  // the first one was not waited for
    }
    for (const RunningService& service : running) {
      if (!service.output || service.tokens < 2) continue;
      seconds += Seconds(*service.output).count();
      tokens += service.tokens - 1;
    }
    return tokens > 0 ? seconds / static_cast<double>(tokens) : 0;
  }

  // The mean rest of what took longer than `elapsed`: `took` of each service, where it counts.
  template <typename Took>
  Duration mean_rest(Duration elapsed, Took took) const {
    Duration sum{};
    int longer = 0;
    for (const EndedService& service : services_) {
      if (took(service) <= elapsed) continue;
      sum += took(service) - elapsed;
      ++longer;
    }
    return longer > 0 ? sum / longer : elapsed / kOverdueShare;
  }

  Duration until_output(Duration elapsed) const {
    return mean_rest(elapsed, [](const EndedService& service) { return service.until_output; });
  }

  // A limit on time ends a service with the step after it, which may be long: those that it ended tell how late.
  Duration time_left(const RunningService& service) const {
    const auto took = [](const EndedService& ended) {
      return ended.end == ServiceEnd::kTimeLimit ? ended.until_output + ended.output : Duration::zero();
    };
    const bool known = std::any_of(services_.begin(), services_.end(),
                                   [](const EndedService& ended) { return ended.end == ServiceEnd::kTimeLimit; });
    if (known) return mean_rest(service.elapsed, took);
    return std::max(*service.limits.time - service.elapsed, Duration::zero());
  }

  // The mean of what is left, by Kaplan and Meier: a service that a limit ended says that it would have gone on, and
  // not how far.
  double tokens_left(const RunningService& service) const {
    const auto begin = static_cast<double>(service.tokens);
    const double limit = service.limits.tokens ? std::max(static_cast<double>(*service.limits.tokens), begin)
                                               : std::numeric_limits<double>::infinity();
    double mean = 0;
    double share = 1;  // of those that come as far as `at`
    double at = begin;
    for (std::size_t i = 0; i < services_.size(); ++i) {
      const auto tokens = static_cast<double>(services_[i].tokens);
      if (tokens <= begin) continue;
      if (tokens >= limit) return mean + share * (limit - at);
      mean += share * (tokens - at);
      at = tokens;
      if (services_[i].end == ServiceEnd::kByItself) share -= share / static_cast<double>(services_.size() - i);
    }
    return mean + share * tokens_beyond(limit - at);
  }

  // Beyond what is remembered, each token is as likely to be the last as it was on the whole.
  double tokens_beyond(double allowed) const {
    if (ends_per_token_ > 0) return -std::expm1(-ends_per_token_ * allowed) / ends_per_token_;
    return std::isfinite(allowed) ? allowed : tokens_mean_;
  }

  std::vector<EndedService> services_;  // by tokens
  double seconds_per_token_ = 0;
  double ends_per_token_ = 0;
  double tokens_mean_ = 0;
};

std::optional<std::vector<Duration>> estimate_waits(const ServiceHistory& history, int slots,
                                                    std::span<const RunningService> running, Duration load_left,
                                                    std::span<const ServiceLimits> waiting) {
  if (history.empty()) return std::nullopt;
  const ServiceForecast forecast(history, running);
  // When each slot is free, the soonest on top.
  std::priority_queue<Duration, std::vector<Duration>, std::greater<>> free_at;
  for (const RunningService& service : running) free_at.push(std::max(forecast.left(service), load_left));
  while (static_cast<int>(free_at.size()) < std::max(slots, 1)) free_at.push(load_left);
  std::vector<Duration> waits;
  waits.reserve(waiting.size());
  RunningService service;
  for (const ServiceLimits& limits : waiting) {
    service.limits = limits;
    const Duration wait = free_at.top();
    free_at.pop();
    free_at.push(wait + forecast.left(service));
    waits.push_back(wait);
  }
  return waits;
}

}  // namespace drover
