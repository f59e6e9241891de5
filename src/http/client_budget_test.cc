#include "http/client_budget.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace drover::http {
namespace {

using namespace std::chrono_literals;
using Place = ClientBudget::Place;
using Resource = ClientBudget::Resource;

TEST(ClientBudget, AnAddressHasItsShareAndOthersTheRest) {
  ServerLimits limits;
  limits.connections_max = 8;
  limits.connections_per_client_max = 3;
  limits.probes_max = 4;
  ClientBudget budget(limits);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(budget.enter("a"), Place::kFull);
  EXPECT_EQ(budget.enter("a"), Place::kProbe);
  EXPECT_EQ(budget.enter("a"), Place::kNone) << "one address does not take the whole reserve";
  EXPECT_EQ(budget.enter("b"), Place::kFull);
  budget.leave("a", Place::kFull);
  EXPECT_EQ(budget.enter("a"), Place::kFull);
  budget.leave("a", Place::kProbe);
  EXPECT_EQ(budget.enter("a"), Place::kProbe);
}

TEST(ClientBudget, BodiesHaveOneBoundForAnAddressAndOneInAll) {
  ServerLimits limits;
  limits.bodies_bytes_max = 100;
  limits.bodies_bytes_per_client_max = 60;
  ClientBudget budget(limits);
  EXPECT_TRUE(budget.take("a", Resource::kBodies, 60));
  EXPECT_FALSE(budget.take("a", Resource::kBodies, 1));
  EXPECT_TRUE(budget.take("b", Resource::kBodies, 40));
  EXPECT_FALSE(budget.take("c", Resource::kBodies, 1));
  EXPECT_FALSE(budget.take("c", Resource::kBodies, static_cast<std::size_t>(-1)));
  budget.give_back("a", Resource::kBodies, 60);
  EXPECT_TRUE(budget.take("c", Resource::kBodies, 60));
  EXPECT_EQ(budget.addresses(), 2u);
}

TEST(ClientBudget, EachResourceIsCountedByItself) {
  ServerLimits limits;
  limits.bodies_bytes_max = 100;
  limits.bodies_bytes_per_client_max = 60;
  limits.files_max = 3;
  limits.files_per_client_max = 2;
  ClientBudget budget(limits);
  EXPECT_TRUE(budget.take("a", Resource::kBodies, 60));
  EXPECT_TRUE(budget.take("a", Resource::kAnswers, 60)) << "answers that wait refuse no body";
  EXPECT_FALSE(budget.take("a", Resource::kAnswers, 1));
  EXPECT_TRUE(budget.take("a", Resource::kFiles, 2));
  EXPECT_FALSE(budget.take("a", Resource::kFiles, 1));
  EXPECT_TRUE(budget.take("b", Resource::kFiles, 1));
  EXPECT_FALSE(budget.take("c", Resource::kFiles, 1));
  budget.give_back("a", Resource::kBodies, 60);
  budget.give_back("a", Resource::kAnswers, 60);
  EXPECT_EQ(budget.addresses(), 2u);
  budget.give_back("a", Resource::kFiles, 2);
  EXPECT_EQ(budget.addresses(), 1u);
}

TEST(ClientBudget, TheAddressesOfAnIpv6NetworkAreOne) {
  ServerLimits limits;
  limits.connections_per_client_max = 2;
  limits.probes_max = 0;
  ClientBudget budget(limits);
  EXPECT_EQ(budget.enter("2001:db8:0:1::1"), Place::kFull);
  EXPECT_EQ(budget.enter("2001:db8:0:1:ffff::2"), Place::kFull);
  EXPECT_EQ(budget.enter("2001:db8:0:1::3"), Place::kNone);
  EXPECT_EQ(budget.enter("2001:db8:0:2::1"), Place::kFull);
  budget.leave("2001:db8:0:1:ffff::2", Place::kFull);
  EXPECT_EQ(budget.enter("2001:db8:0:1::3"), Place::kFull);
}

TEST(NetworkOf, IsTheAddressItselfUnlessItIsIpv6) {
  EXPECT_EQ(network_of("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::/64");
  EXPECT_EQ(network_of("::1"), "::/64");
  for (const std::string address : {"192.0.2.1", "uid:1000", "local", "fe80::1%eth0", ""}) {
    EXPECT_EQ(network_of(address), address);
  }
}

TEST(ClientBudget, WhatIsTakenIsWithinTheBoundsAndComesBack) {
  ServerLimits limits;
  limits.connections_max = 20;
  limits.connections_per_client_max = 7;
  limits.probes_max = 8;
  limits.bodies_bytes_max = 1000;
  limits.bodies_bytes_per_client_max = 300;
  for (unsigned seed = 1; seed <= 50; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](unsigned n) { return random() % n; };
    ClientBudget budget(limits);
    struct Open {
      std::string address;
      Place place;
      std::size_t bytes;
    };
    std::vector<Open> open;
    for (int step = 0; step < 2000; ++step) {
      if (open.empty() || below(3) == 0) {
        const std::string address = std::to_string(below(6));
        if (const Place place = budget.enter(address); place != Place::kNone) open.push_back({address, place, 0});
      } else if (Open& one = open[below(static_cast<unsigned>(open.size()))]; below(2) == 0) {
        const std::size_t bytes = below(200);
        if (budget.take(one.address, Resource::kBodies, bytes)) one.bytes += bytes;
      } else {
        budget.give_back(one.address, Resource::kBodies, one.bytes);
        budget.leave(one.address, one.place);
        std::swap(one, open.back());
        open.pop_back();
      }
      std::size_t bytes = 0, own_bytes = 0, full = 0, own_full = 0, probes = 0;
      for (const Open& one : open) {
        const bool own = one.address == "0";
        bytes += one.bytes;
        own_bytes += own ? one.bytes : 0;
        full += one.place == Place::kFull;
        own_full += own && one.place == Place::kFull;
        probes += one.place == Place::kProbe;
      }
      ASSERT_EQ(budget.taken(Resource::kBodies), bytes) << seed;
      ASSERT_TRUE(bytes <= 1000 && own_bytes <= 300 && full <= 20 && own_full <= 7 && probes <= 8) << seed;
    }
    for (const Open& one : open) {
      budget.give_back(one.address, Resource::kBodies, one.bytes);
      budget.leave(one.address, one.place);
    }
    EXPECT_EQ(budget.addresses(), 0u) << seed;
  }
}

TEST(BodyTimeLeft, IsTheGraceAndWhatTheBytesHaveEarned) {
  ServerLimits limits;
  limits.body_grace = 30s;
  limits.body_bytes_per_second_min = 1024;
  EXPECT_EQ(body_time_left(limits, 0s, 0), 30s);
  EXPECT_EQ(body_time_left(limits, 31s, 6), -1s) << "a byte now and then";
  EXPECT_EQ(body_time_left(limits, 31s, 10 << 10), 9s);
  EXPECT_GT(body_time_left(limits, 0s, static_cast<std::size_t>(-1)), 1h);
  limits.body_bytes_per_second_min = 0;
  EXPECT_GT(body_time_left(limits, 1h, 0), 1h);
}

}  // namespace
}  // namespace drover::http
