#include "dispatch/wait_estimate.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using namespace std::chrono_literals;
using Waits = std::vector<Duration>;

ServiceTimes times(std::initializer_list<Duration> services) {
  ServiceTimes result;
  for (const Duration service : services) result.add(service);
  return result;
}

TEST(WaitEstimate, NothingIsKnownBeforeTheFirstServiceHasEnded) {
  EXPECT_FALSE(estimate_waits(ServiceTimes(), 1, {}, 0s, 3));
}

TEST(WaitEstimate, OnePlaceServesOneAfterAnother) {
  const Waits running = {3s};
  EXPECT_EQ(estimate_waits(times({10s}), 1, running, 0s, 3), (Waits{7s, 17s, 27s}));
}

TEST(WaitEstimate, EachTakesThePlaceThatIsFreeFirst) {
  const Waits running = {1s, 9s, 4s};
  EXPECT_EQ(estimate_waits(times({10s}), 3, running, 0s, 5), (Waits{1s, 6s, 9s, 11s, 16s}));
}

TEST(WaitEstimate, FreePlacesAreTakenAtOnceAndAfterALoad) {
  const Waits running = {9s};
  EXPECT_EQ(estimate_waits(times({10s}), 2, running, 0s, 3), (Waits{0s, 1s, 10s}));
  EXPECT_EQ(estimate_waits(times({10s}), 2, {}, 5s, 3), (Waits{5s, 5s, 15s}));
}

TEST(WaitEstimate, NobodyWaits) {
  EXPECT_EQ(estimate_waits(times({10s}), 1, {}, 0s, 0), Waits{});
}

TEST(ServiceTimes, TheRestIsThatOfThoseThatLastedLonger) {
  const ServiceTimes services = times({1s, 1s, 1s, 10s});
  EXPECT_EQ(services.remaining(0s), 3250ms);
  // What has lasted for two seconds is one of the long ones.
  EXPECT_EQ(services.remaining(2s), 8s);
  EXPECT_EQ(services.remaining(20s), 2s);
}

TEST(ServiceTimes, OldOnesAreForgotten) {
  ServiceTimes services;
  services.add(1000s);
  for (std::size_t i = 0; i < ServiceTimes::kRememberedMax; ++i) services.add(2s);
  EXPECT_EQ(services.mean(), 2s);
}

// Services of different lengths, served by three places: the estimates are right in the mean.
TEST(WaitEstimate, FollowsWhatHappens) {
  ServiceTimes services;
  std::uint32_t state = 1;
  const auto next_service = [&] {
    state = state * 1664525u + 1013904223u;
    return Duration(100ms) + Duration(1ms) * (state >> 22);  // 0.1 s to 1.1 s
  };
  for (int i = 0; i < 64; ++i) services.add(next_service());
  double error = 0;
  constexpr int kRounds = 200;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<Duration> free_at;
    Waits running;
    for (int place = 0; place < 3; ++place) {
      const Duration service = next_service();
      const Duration elapsed = service / 4 * (place + 1);
      running.push_back(elapsed);
      free_at.push_back(service - elapsed);
    }
    Duration actual{};
    for (int i = 0; i < 20; ++i) {
      auto soonest = std::min_element(free_at.begin(), free_at.end());
      actual = *soonest;
      *soonest += next_service();
    }
    const Duration estimate = estimate_waits(services, 3, running, 0s, 20)->back();
    error += std::abs(std::chrono::duration<double>(estimate - actual) / actual);
  }
  EXPECT_LT(error / kRounds, 0.15);
}

}  // namespace
}  // namespace drover
