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

TEST(EmbedPacker, NothingWaitsNothingComes) {
  EmbedPacker packer(10, 4);
  EXPECT_TRUE(packer.empty());
  EXPECT_TRUE(packer.next().empty());
}

TEST(EmbedPacker, InputsOfSeveralRequestsShareABatch) {
  EmbedPacker packer(10, 4);
  packer.add(kA, {3});
  packer.add(kB, {3});
  packer.add(kC, {4});
  EXPECT_EQ(packer.next(), (std::vector<Picked>{{kA, 0}, {kB, 0}, {kC, 0}}));
  EXPECT_TRUE(packer.empty());
}

TEST(EmbedPacker, ASingleInputDoesNotWaitForAThousand) {
  EmbedPacker packer(100, 8);
  packer.add(kA, std::vector<int>(1000, 10));
  EXPECT_EQ(packer.next().size(), 8u);
  packer.add(kB, {10});
  const std::vector<Picked> batch = packer.next();
  EXPECT_EQ(batch.size(), 8u);
  EXPECT_EQ(std::count(batch.begin(), batch.end(), Picked{kB, 0}), 1);
}

TEST(EmbedPacker, RequestsTakeTurns) {
  EmbedPacker packer(40, 64);
  packer.add(kA, std::vector<int>(100, 10));
  packer.add(kB, std::vector<int>(100, 10));
  EXPECT_EQ(packer.next(), (std::vector<Picked>{{kA, 0}, {kB, 0}, {kA, 1}, {kB, 1}}));
  EXPECT_EQ(packer.next(), (std::vector<Picked>{{kA, 2}, {kB, 2}, {kA, 3}, {kB, 3}}));
}

TEST(EmbedPacker, AnInputThatIsLargerThanABatchHasOneOfItsOwn) {
  EmbedPacker packer(10, 4);
  packer.add(kA, {2, 50, 2});
  EXPECT_EQ(packer.next(), (std::vector<Picked>{{kA, 0}}));
  EXPECT_EQ(packer.next(), (std::vector<Picked>{{kA, 1}}));
  EXPECT_EQ(packer.next(), (std::vector<Picked>{{kA, 2}}));
}

TEST(EmbedPacker, ALargeInputIsPassedOverOnce) {
  EmbedPacker packer(10, 64);
  packer.add(kA, std::vector<int>(100, 2));
  packer.add(kB, {10});
  EXPECT_EQ(packer.next().size(), 5u);                       // the one of 10 tokens does not fit beside others
  EXPECT_EQ(packer.next(), (std::vector<Picked>{{kB, 0}}));  // so it is first now
}

TEST(EmbedPacker, WhatIsRemovedDoesNotCome) {
  EmbedPacker packer(4, 64);
  packer.add(kA, {2, 2, 2, 2});
  packer.add(kB, {2, 2});
  EXPECT_EQ(packer.next(), (std::vector<Picked>{{kA, 0}, {kB, 0}}));
  packer.remove(kA);
  packer.remove(kC);
  EXPECT_EQ(packer.next(), (std::vector<Picked>{{kB, 1}}));
  EXPECT_TRUE(packer.empty());
  EXPECT_TRUE(packer.next().empty());
}

// Whatever comes, every input is handed out once, in its request's order, within the limits, and nobody is passed over
// for long.
TEST(EmbedPacker, OrderIsKeptAndNothingIsLost) {
  constexpr int kTokensMax = 64, kInputsMax = 8;
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    EmbedPacker packer(kTokensMax, kInputsMax);
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
      const std::vector<Picked> batch = packer.next();
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
