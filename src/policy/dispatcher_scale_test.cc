// What a long queue costs: four times as many that wait take about four times as long, whatever happens to them. What
// were quadratic would take sixteen times as long.
#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "policy/dispatcher_fixture.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kFew = 1000;
constexpr std::size_t kMany = 4 * kFew;
constexpr double kRatioMax = 9;
constexpr int kRounds = 3;

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Who the i-th request is from, and what it is.
using Shape = std::function<void(std::size_t i, Arrival& arrival)>;

Shape of_one_client() {
  return [](std::size_t, Arrival&) {};
}
Shape of_a_client_each() {
  return [](std::size_t i, Arrival& arrival) { arrival.client = "client " + std::to_string(i); };
}
Shape of_some_clients() {
  return [](std::size_t i, Arrival& arrival) {
    arrival.client = "client " + std::to_string(i % 50);
    arrival.client_weight = 1 + static_cast<double>(i % 3);
    arrival.priority = static_cast<Priority>(i % 3);
    arrival.timeout = std::chrono::seconds(100 + i % 700);
  };
}
Shape of_loads() {
  return [](std::size_t, Arrival& arrival) { arrival.load_only = true; };
}

// A model with one slot, which is taken or still loads, and many that wait for it.
class Crowd : public DispatcherFixture {
 public:
  Crowd(std::size_t count, const Shape& shape, bool loading) {
    config_.waiting_max = count + 1;
    if (!loading) load('A');
    first_ = ask('A', "first");
    for (std::size_t i = 0; i < count; ++i) {
      Arrival next = arrival('A');
      shape(i, next);
      requests.push_back(ask(next));
      positions += dispatcher().position(requests.back());
      dispatcher().take_actions();
    }
  }
  void TestBody() override {}

  void serve_all() {
    RequestId running = first_;
    for (std::size_t i = 0; i <= requests.size(); ++i) {
      now_ += 1ms;
      finish(running);
      for (const Action& action : dispatcher().take_actions())
        if (const auto* dispatched = std::get_if<Dispatch>(&action)) running = dispatched->request;
    }
    EXPECT_EQ(dispatcher().waiting(), 0u);
  }
  void cancel_all() {
    for (std::size_t i = 0; i < requests.size(); ++i) cancel(requests[i * 7 % requests.size()]);
  }
  void time_out() {
    now_ += 1h;
    tell(event::Tick{});
  }
  std::size_t look() {
    std::size_t seen = 0;
    for (int i = 0; i < 20; ++i) seen += dispatcher().requests().size() + dispatcher().models().size();
    return seen;
  }
  void shut_down() { tell(event::Shutdown{}); }

  std::vector<RequestId> requests;
  std::size_t positions = 0;

 private:
  RequestId first_;
};

// The least processor time of some rounds, so that what else the machine does counts little.
double cost(std::size_t count, const Shape& shape, bool loading, const std::function<void(Crowd&)>& after) {
  double least = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const double start = processor_seconds();
    Crowd crowd(count, shape, loading);
    if (after) after(crowd);
    least = std::min(least, processor_seconds() - start);
  }
  return least;
}

void expect_linear(const Shape& shape, bool loading, const std::function<void(Crowd&)>& after) {
  const double few = cost(kFew, shape, loading, after);
  const double many = cost(kMany, shape, loading, after);
  EXPECT_LT(many / few, kRatioMax) << kFew << ": " << few << " s, " << kMany << ": " << many << " s";
}

TEST(DispatcherScale, ArrivalsThatAreToldTheirPositions) {
  expect_linear(of_one_client(), false, {});
  expect_linear(of_a_client_each(), false, {});
  expect_linear(of_some_clients(), false, {});
  expect_linear(of_loads(), true, {});
}

TEST(DispatcherScale, Services) {
  const auto serve = [](Crowd& crowd) { crowd.serve_all(); };
  expect_linear(of_one_client(), false, serve);
  expect_linear(of_a_client_each(), false, serve);
  expect_linear(of_some_clients(), false, serve);
}

TEST(DispatcherScale, ClientsThatLeave) {
  const auto leave = [](Crowd& crowd) { crowd.cancel_all(); };
  expect_linear(of_a_client_each(), false, leave);
  expect_linear(of_some_clients(), true, leave);
  expect_linear(of_loads(), true, leave);
}

TEST(DispatcherScale, TimeOuts) {
  expect_linear(of_some_clients(), false, [](Crowd& crowd) { crowd.time_out(); });
}

TEST(DispatcherScale, ListsAndTheEnd) {
  const auto end = [](Crowd& crowd) {
    crowd.look();
    crowd.shut_down();
  };
  expect_linear(of_one_client(), false, end);
  expect_linear(of_a_client_each(), false, end);
  expect_linear(of_some_clients(), true, end);
}

}  // namespace
}  // namespace drover
