// Whose turn it is, in the queue as such.
#include "policy/fair_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

namespace drover {
namespace {

using namespace std::chrono_literals;

class FairQueueTest : public ::testing::Test {
 protected:
  FairQueue::Waiter& push(const std::string& client, Priority priority = Priority::kNormal, double weight = 1) {
    auto waiter = std::make_unique<FairQueue::Waiter>();
    waiter->request = RequestId{waiters_.size() + 1};
    waiter->client = client;
    waiter->priority = priority;
    waiter->weight = weight;
    waiter->sequence = waiters_.size() + 1;
    waiter->arrived = now_;
    waiters_.push_back(std::move(waiter));
    queue_.push(*waiters_.back(), now_);
    return *waiters_.back();
  }
  FairQueue::Waiter& start() {
    FairQueue::Waiter* waiter = queue_.next(now_);
    EXPECT_NE(waiter, nullptr);
    queue_.start(*waiter, now_);
    return *waiter;
  }
  // Serves one that takes so long; whose it was.
  std::string serve(Duration duration) {
    FairQueue::Waiter& waiter = start();
    now_ += duration;
    queue_.end(waiter, FairQueue::Ending::kComplete, now_);
    return waiter.client;
  }

  TimePoint now_{1h};
  FairQueue queue_{30s};
  std::vector<std::unique_ptr<FairQueue::Waiter>> waiters_;
};

TEST_F(FairQueueTest, EmptyQueueHasNoNext) {
  EXPECT_EQ(queue_.next(now_), nullptr);
  EXPECT_TRUE(queue_.empty());
  EXPECT_TRUE(queue_.order().empty());
}

TEST_F(FairQueueTest, WhoWasIdleHasSavedNothingUp) {
  for (int i = 0; i < 20; ++i) push("steady");
  for (int i = 0; i < 10; ++i) serve(1s);
  for (int i = 0; i < 10; ++i) push("late");
  std::string order;
  for (int i = 0; i < 6; ++i) order += serve(1s)[0];
  EXPECT_EQ(order, "lslsls") << "the newcomer goes first, and then they take turns";
}

TEST_F(FairQueueTest, LongServiceIsPaidForAfterwards) {
  for (int i = 0; i < 4; ++i) push("long");
  for (int i = 0; i < 10; ++i) push("short");
  std::string order;
  for (int i = 0; i < 8; ++i) order += serve(queue_.next(now_)->client == "long" ? 4s : 1s)[0];
  EXPECT_EQ(order, "lsssslss");
}

TEST_F(FairQueueTest, WeightsAreShares) {
  for (int i = 0; i < 40; ++i) {
    push("heavy", Priority::kNormal, 3);
    push("light");
  }
  std::string expected;
  for (const FairQueue::Waiter* waiter : queue_.order()) expected += waiter->client[0];
  std::string order;
  for (int i = 0; i < 40; ++i) order += serve(1s)[0];
  EXPECT_EQ(std::count(order.begin(), order.end(), 'h'), 30) << order;
  EXPECT_EQ(order, expected.substr(0, order.size())) << "it is what order() foretells";
  push("new");
  EXPECT_EQ(serve(1s), "new") << "no weight lets anybody pass a newcomer";
}

TEST_F(FairQueueTest, PutBackComesFirstInOrderOfArrivalAndIsNotCharged) {
  push("a");
  push("b");
  push("a");
  FairQueue::Waiter& first = start();
  FairQueue::Waiter& second = start();
  queue_.put_back(second, now_);
  queue_.put_back(first, now_);
  push("new", Priority::kHigh);
  ASSERT_EQ(queue_.order().size(), 4u);
  EXPECT_EQ(&start(), &first);
  EXPECT_EQ(&start(), &second);
  EXPECT_EQ(start().client, "new");
}

TEST_F(FairQueueTest, RemovalOfTheFirstLetsTheNextOneIn) {
  FairQueue::Waiter& first = push("a");
  push("b");
  FairQueue::Waiter& third = push("a");
  queue_.remove(first, now_);
  EXPECT_EQ(queue_.next(now_)->client, "b");
  queue_.remove(third, now_);
  EXPECT_EQ(queue_.size(), 1u);
  FairQueue::Waiter& last = start();
  queue_.put_back(last, now_);
  queue_.remove(last, now_);
  EXPECT_TRUE(queue_.empty());
}

TEST_F(FairQueueTest, ThousandsOfClientsThatComeOnceAreForgotten) {
  push("steady");
  for (int i = 0; i < 5000; ++i) {
    push("once " + std::to_string(i));
    push("steady");
    serve(1s);
    serve(1s);
  }
  EXPECT_EQ(queue_.size(), 1u);
  EXPECT_EQ(queue_.order().size(), 1u);
}

TEST_F(FairQueueTest, OfTooManyIdleClientsTheOneThatOwesLeastIsForgotten) {
  push("runs");
  start();  // if nobody ran, all would start anew
  push("heavy");
  EXPECT_EQ(serve(1000s), "heavy");
  for (int i = 0; i < 1100; ++i) push("client " + std::to_string(i));
  for (int i = 0; i < 1100; ++i) serve(1s);
  push("heavy");
  push("new");
  EXPECT_EQ(serve(1s), "new") << "the debt of the heavy one was forgotten";
}

TEST_F(FairQueueTest, MeanFollowsWhatIsMeasured) {
  for (int i = 0; i < 40; ++i) push("a");
  serve(8s);
  EXPECT_EQ(queue_.mean_service(), Duration(8s)) << "the first figure replaces the guess";
  for (int i = 0; i < 39; ++i) serve(2s);
  EXPECT_LT(queue_.mean_service(), Duration(2500ms));
}

TEST_F(FairQueueTest, PositionsAreThoseOfTheOrderAsFarAsTheyAreTold) {
  for (int i = 0; i < 300; ++i) {
    push("client " + std::to_string(i % 7), static_cast<Priority>(i % 3), 1 + i % 2);
    if (i % 5 == 0) serve(1s);
  }
  queue_.put_back(start(), now_);
  std::size_t place = 0;
  for (const FairQueue::Waiter* waiter : queue_.order()) EXPECT_EQ(queue_.position(*waiter), ++place);
  EXPECT_LT(place, FairQueue::kExactPositionsMax);
  while (queue_.size() < 2 * FairQueue::kExactPositionsMax) push("client " + std::to_string(queue_.size() % 7));
  place = 0;
  for (const FairQueue::Waiter* waiter : queue_.order()) {
    ++place;
    EXPECT_EQ(queue_.position(*waiter), place <= FairQueue::kExactPositionsMax ? place : queue_.size());
  }
}

TEST_F(FairQueueTest, TheTailOfASingleClientIsToldItsPlaceHoweverFarBackItIs) {
  for (std::size_t i = 1; i <= 3 * FairQueue::kExactPositionsMax; ++i) EXPECT_EQ(queue_.position(push("only")), i);
}

}  // namespace
}  // namespace drover
