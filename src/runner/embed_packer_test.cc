#include "runner/embed_packer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace drover {
namespace {

using Picked = EmbedPacker::Picked;

constexpr RequestId kA{1}, kB{2}, kC{3};

EmbedLimits without_lanes(int tokens, int inputs) {
  EmbedLimits limits;
  limits.inputs = inputs;
  limits.wide_tokens = tokens;
  return limits;
}

// Two lanes of 20 tokens each, beside a wide worker of 100.
EmbedLimits with_lanes() {
  EmbedLimits limits = without_lanes(100, 64);
  limits.lanes = 2;
  limits.lane_tokens = 20;
  limits.lane_input_tokens = 40;
  return limits;
}

// A batch that the wide worker computes at once.
std::vector<Picked> next(EmbedPacker& packer) {
  std::vector<Picked> batch = packer.next(EmbedWorker::kWide);
  if (!batch.empty()) packer.finished(EmbedWorker::kWide, batch.size());
  return batch;
}

TEST(EmbedPacker, NothingWaitsNothingComes) {
  EmbedPacker packer(without_lanes(10, 4));
  EXPECT_TRUE(packer.empty());
  EXPECT_TRUE(next(packer).empty());
}

TEST(EmbedPacker, InputsOfSeveralRequestsShareABatch) {
  EmbedPacker packer(without_lanes(10, 4));
  packer.add(kA, {3});
  packer.add(kB, {3});
  packer.add(kC, {4});
  EXPECT_EQ(next(packer), (std::vector<Picked>{{kA, 0}, {kB, 0}, {kC, 0}}));
  EXPECT_TRUE(packer.empty());
}

TEST(EmbedPacker, ASingleInputDoesNotWaitForAThousand) {
  EmbedPacker packer(without_lanes(100, 8));
  packer.add(kA, std::vector<int>(1000, 10));
  EXPECT_EQ(next(packer).size(), 8u);
  packer.add(kB, {10});
  const std::vector<Picked> batch = next(packer);
  EXPECT_EQ(batch.size(), 8u);
  EXPECT_EQ(std::count(batch.begin(), batch.end(), Picked{kB, 0}), 1);
}

TEST(EmbedPacker, RequestsTakeTurns) {
  EmbedPacker packer(without_lanes(40, 64));
  packer.add(kA, std::vector<int>(100, 10));
  packer.add(kB, std::vector<int>(100, 10));
  EXPECT_EQ(next(packer), (std::vector<Picked>{{kA, 0}, {kB, 0}, {kA, 1}, {kB, 1}}));
  EXPECT_EQ(next(packer), (std::vector<Picked>{{kA, 2}, {kB, 2}, {kA, 3}, {kB, 3}}));
}

TEST(EmbedPacker, AnInputThatIsLargerThanABatchHasOneOfItsOwn) {
  EmbedPacker packer(without_lanes(10, 4));
  packer.add(kA, {2, 50, 2});
  EXPECT_EQ(next(packer), (std::vector<Picked>{{kA, 0}}));
  EXPECT_EQ(next(packer), (std::vector<Picked>{{kA, 1}}));
  EXPECT_EQ(next(packer), (std::vector<Picked>{{kA, 2}}));
}

TEST(EmbedPacker, ALargeInputIsPassedOverOnce) {
  EmbedPacker packer(without_lanes(10, 64));
  packer.add(kA, std::vector<int>(100, 2));
  packer.add(kB, {10});
  EXPECT_EQ(next(packer).size(), 5u);                       // the one of 10 tokens does not fit beside others
  EXPECT_EQ(next(packer), (std::vector<Picked>{{kB, 0}}));  // so it is first now
}

TEST(EmbedPacker, WhatIsRemovedDoesNotCome) {
  EmbedPacker packer(without_lanes(4, 64));
  packer.add(kA, {2, 2, 2, 2});
  packer.add(kB, {2, 2});
  EXPECT_EQ(next(packer), (std::vector<Picked>{{kA, 0}, {kB, 0}}));
  packer.remove(kA);
  packer.remove(kC);
  EXPECT_EQ(next(packer), (std::vector<Picked>{{kB, 1}}));
  EXPECT_TRUE(packer.empty());
  EXPECT_TRUE(next(packer).empty());
}

TEST(EmbedPacker, AFewInputsAreForTheWideWorker) {
  EmbedPacker packer(with_lanes());
  packer.add(kA, {5});
  EXPECT_TRUE(packer.next(EmbedWorker::kLane).empty());
  EXPECT_EQ(packer.next(EmbedWorker::kWide), (std::vector<Picked>{{kA, 0}}));
}

TEST(EmbedPacker, LanesShareWhatThereIs) {
  EmbedPacker packer(with_lanes());
  packer.add(kA, {5, 5, 5, 5});
  EXPECT_TRUE(packer.next(EmbedWorker::kWide).empty());
  EXPECT_EQ(packer.next(EmbedWorker::kLane), (std::vector<Picked>{{kA, 0}, {kA, 1}}));
  EXPECT_EQ(packer.next(EmbedWorker::kLane).size(), 1u);  // half of what is left: one more may come meanwhile
  EXPECT_EQ(packer.next(EmbedWorker::kLane), (std::vector<Picked>{{kA, 3}}));
}

TEST(EmbedPacker, ALaneTakesNoMoreThanItsTokens) {
  EmbedPacker packer(with_lanes());
  packer.add(kA, std::vector<int>(100, 5));
  EXPECT_EQ(packer.next(EmbedWorker::kLane).size(), 4u);
}

TEST(EmbedPacker, TheWideWorkerAndALaneNeverComputeAtTheSameTime) {
  EmbedPacker packer(with_lanes());
  packer.add(kA, {5});
  EXPECT_EQ(packer.next(EmbedWorker::kWide).size(), 1u);
  packer.add(kB, {5, 5, 5, 5});
  EXPECT_TRUE(packer.next(EmbedWorker::kLane).empty());
  packer.finished(EmbedWorker::kWide, 1);
  EXPECT_EQ(packer.next(EmbedWorker::kLane).size(), 2u);
  EXPECT_EQ(packer.next(EmbedWorker::kLane).size(), 1u);
  EXPECT_TRUE(packer.next(EmbedWorker::kWide).empty());
  packer.finished(EmbedWorker::kLane, 1);
  EXPECT_TRUE(packer.next(EmbedWorker::kWide).empty());  // one lane still computes
}

TEST(EmbedPacker, TwoClientsHaveALaneEach) {
  EmbedPacker packer(with_lanes());
  packer.add(kA, {5});
  EXPECT_EQ(packer.next(EmbedWorker::kWide).size(), 1u);
  packer.add(kB, {5});
  packer.finished(EmbedWorker::kWide, 1);
  EXPECT_TRUE(packer.next(EmbedWorker::kWide).empty());
  EXPECT_EQ(packer.next(EmbedWorker::kLane).size(), 1u);
  packer.add(kA, {5});
  EXPECT_EQ(packer.next(EmbedWorker::kLane).size(), 1u);
  packer.finished(EmbedWorker::kLane, 1);
  packer.finished(EmbedWorker::kLane, 1);
  packer.add(kA, {5});  // alone again
  EXPECT_TRUE(packer.next(EmbedWorker::kLane).empty());
  EXPECT_EQ(packer.next(EmbedWorker::kWide).size(), 1u);
}

TEST(EmbedPacker, WithFewerInputsThanLanesTheWideWorkerGoesOnOnceTheLanesAreDone) {
  EmbedLimits limits = with_lanes();
  limits.lanes = 4;
  EmbedPacker packer(limits);
  packer.add(kA, {5, 5, 5, 5});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(packer.next(EmbedWorker::kLane).size(), 1u);
  for (int i = 0; i < 3; ++i) packer.finished(EmbedWorker::kLane, 1);
  packer.add(kB, {5});
  EXPECT_TRUE(packer.next(EmbedWorker::kLane).empty());
  EXPECT_TRUE(packer.next(EmbedWorker::kWide).empty());
  packer.finished(EmbedWorker::kLane, 1);
  EXPECT_EQ(packer.next(EmbedWorker::kWide).size(), 1u);
}

TEST(EmbedPacker, ALongInputWaitsUntilTheLanesAreDoneAndIsNotOvertaken) {
  EmbedPacker packer(with_lanes());
  packer.add(kA, {20, 41, 5, 5, 5});
  EXPECT_EQ(packer.next(EmbedWorker::kLane), (std::vector<Picked>{{kA, 0}}));
  EXPECT_TRUE(packer.next(EmbedWorker::kLane).empty());
  EXPECT_TRUE(packer.next(EmbedWorker::kWide).empty());
  packer.finished(EmbedWorker::kLane, 1);
  EXPECT_TRUE(packer.next(EmbedWorker::kLane).empty());
  EXPECT_EQ(packer.next(EmbedWorker::kWide).front(), (Picked{kA, 1}));
}

TEST(EmbedPacker, WhatIsRemovedIsNoShareOfALane) {
  EmbedPacker packer(with_lanes());
  packer.add(kA, std::vector<int>(10, 5));
  packer.add(kB, {5});
  packer.remove(kA);
  EXPECT_TRUE(packer.next(EmbedWorker::kLane).empty());
  EXPECT_EQ(packer.next(EmbedWorker::kWide), (std::vector<Picked>{{kB, 0}}));
}

TEST(EmbedPacker, TheTokensOfWhatIsRemovedAreNoShareOfALaneEither) {
  EmbedPacker packer(with_lanes());
  packer.add(kA, {5, 5, 5, 5});
  packer.add(kB, {50});
  packer.remove(kB);
  EXPECT_EQ(packer.next(EmbedWorker::kLane).size(), 2u);
}

// With lanes, every input comes once and in its request's order, never beside the wide worker's batch, and as long as
// something waits, somebody computes.
TEST(EmbedPacker, LanesNeverStandStill) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    EmbedPacker packer(with_lanes());
    std::map<RequestId, std::vector<int>> requests;
    std::map<RequestId, std::size_t> handed_out;
    struct Batch {
      EmbedWorker worker;
      std::size_t inputs;
    };
    std::vector<Batch> computing;
    std::uint64_t last = 0;
    while (last < 40 || !packer.empty() || !computing.empty()) {
      if (last < 40 && random() % 2 == 0) {
        const RequestId request{++last};
        std::vector<int> sizes(1 + random() % 6);
        for (int& size : sizes) size = 1 + static_cast<int>(random() % (random() % 4 == 0 ? 90 : 9));
        requests[request] = sizes;
        packer.add(request, sizes);
      }
      for (const EmbedWorker worker : {EmbedWorker::kLane, EmbedWorker::kWide, EmbedWorker::kLane}) {
        const auto is_same = [&](const Batch& batch) { return batch.worker == worker; };
        const bool free =
            std::count_if(computing.begin(), computing.end(), is_same) < (worker == EmbedWorker::kWide ? 1 : 2);
        const std::vector<Picked> batch = free ? packer.next(worker) : std::vector<Picked>();
        if (batch.empty()) continue;
        for (const Batch& other : computing) {
          ASSERT_TRUE(other.worker == EmbedWorker::kLane && worker == EmbedWorker::kLane) << "seed " << seed;
        }
        computing.push_back({worker, batch.size()});
        int tokens = 0;
        for (const Picked& picked : batch) {
          ASSERT_EQ(picked.input, handed_out[picked.request]++) << "seed " << seed;
          tokens += requests.at(picked.request).at(picked.input);
        }
        const int most = worker == EmbedWorker::kWide ? 100 : batch.size() > 1 ? 20 : 40;
        ASSERT_LE(tokens, most) << "seed " << seed;
      }
      ASSERT_TRUE(packer.empty() || !computing.empty()) << "seed " << seed;
      if (!computing.empty() && random() % 2 == 0) {
        const std::size_t which = random() % computing.size();
        packer.finished(computing[which].worker, computing[which].inputs);
        computing.erase(computing.begin() + static_cast<std::ptrdiff_t>(which));
      }
    }
    for (const auto& [request, sizes] : requests) EXPECT_EQ(handed_out[request], sizes.size()) << "seed " << seed;
  }
}

// Whatever comes, every input is handed out once, in its request's order, within the limits, and nobody is passed over
// for long.
TEST(EmbedPacker, OrderIsKeptAndNothingIsLost) {
  constexpr int kTokensMax = 64, kInputsMax = 8;
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    EmbedPacker packer(without_lanes(kTokensMax, kInputsMax));
    std::map<RequestId, std::vector<int>> requests;
    std::map<RequestId, std::size_t> handed_out;
    std::set<RequestId> removed;
    std::map<RequestId, int> batches_without;
    std::uint64_t last = 0;
    while (last < 40 || !packer.empty()) {
      if (last < 40 && random() % 2 == 0) {
        const RequestId request{++last};
        std::vector<int> sizes(random() % 20 == 0 ? 200 : 1 + random() % 6);
        for (int& size : sizes) size = 1 + static_cast<int>(random() % 90);
        requests[request] = sizes;
        packer.add(request, sizes);
      }
      if (last > 0 && random() % 20 == 0) {
        const RequestId request{1 + random() % last};
        packer.remove(request);
        removed.insert(request);
      }
      int tokens = 0;
      std::set<RequestId> in_batch;
      const std::vector<Picked> batch = next(packer);
      ASSERT_LE(batch.size(), static_cast<std::size_t>(kInputsMax));
      for (const Picked& picked : batch) {
        ASSERT_EQ(picked.input, handed_out[picked.request]++) << "seed " << seed;
        ASSERT_EQ(removed.count(picked.request), 0u);
        tokens += requests.at(picked.request).at(picked.input);
        in_batch.insert(picked.request);
      }
      ASSERT_TRUE(tokens <= kTokensMax || batch.size() == 1);
      for (const auto& [request, sizes] : requests) {
        const bool waits = removed.count(request) == 0 && handed_out[request] < sizes.size();
        batches_without[request] = waits && in_batch.count(request) == 0 ? batches_without[request] + 1 : 0;
        ASSERT_LE(batches_without[request], 40) << "seed " << seed;  // each batch serves at least one other before it
      }
    }
    for (const auto& [request, sizes] : requests) {
      if (removed.count(request) > 0) continue;
      EXPECT_EQ(handed_out[request], sizes.size()) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace drover
