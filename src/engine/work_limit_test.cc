#include "engine/work_limit.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace drover {
namespace {

using namespace std::chrono_literals;

// Allocates for ever.
void work_on() {
  std::vector<std::unique_ptr<std::string>> held;
  while (true) {
    held.push_back(std::make_unique<std::string>(100, 'x'));
    if (held.size() == 1000) held.clear();
  }
}

TEST(WorkLimit, EndsWhatAllocatesForEver) {
  const WorkLimit limit(20ms);
  EXPECT_THROW(work_on(), OverWorkLimit);
  EXPECT_GE(limit.used(), 20ms);
  EXPECT_LT(limit.used(), 200ms);
  EXPECT_EQ(std::make_unique<int>(7).operator*(), 7) << "it throws once";
}

TEST(WorkLimit, CountsTheTimeOfTheProcessorAndOfThisThreadAlone) {
  const WorkLimit limit(20ms);
  std::this_thread::sleep_for(100ms);
  std::thread([] {
    std::vector<std::unique_ptr<int>> held;
    for (int i = 0; i < 1'000'000; ++i) held.push_back(std::make_unique<int>(i));
  }).join();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(*std::make_unique<int>(i), i);
}

TEST(WorkLimit, EndsWithItsScope) {
  {
    const WorkLimit limit(0ms);
    EXPECT_THROW(work_on(), OverWorkLimit);
  }
  { const WorkLimit limit(0ms); }
  std::vector<std::unique_ptr<int>> held;
  for (int i = 0; i < 1000; ++i) held.push_back(std::make_unique<int>(i));
}

}  // namespace
}  // namespace drover
