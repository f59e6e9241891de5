#include "registry/challenge.h"

#include <gtest/gtest.h>

namespace drover::registry {
namespace {

TEST(Challenge, Bearer) {
  const auto challenge = parse_challenge(
      R"(Bearer realm="https://a/token",service="a \"b\"", scope="repository:library/x:pull repository:y:push")");
  ASSERT_TRUE(challenge.ok());
  EXPECT_EQ(challenge->scheme, Challenge::Scheme::kBearer);
  EXPECT_EQ(challenge->realm, "https://a/token");
  EXPECT_EQ(challenge->service, "a \"b\"");
  EXPECT_EQ(challenge->scope, "repository:library/x:pull repository:y:push");
  EXPECT_EQ(parse_challenge("bearer REALM=https://a/token")->realm, "https://a/token");
  EXPECT_EQ(parse_challenge(R"(Bearer error="x",realm="r", Basic realm="b")")->realm, "r");
}

TEST(Challenge, Basic) {
  EXPECT_EQ(parse_challenge("Basic realm=\"Registry\"")->scheme, Challenge::Scheme::kBasic);
}

TEST(Challenge, WhatIsDenied) {
  for (const std::string text : {"", "Bearer", "Bearer realm=", "Bearer realm=\"https://a", "Digest realm=\"x\"",
                                 "Bearer service=\"x\"", "=", "Bearer ,,,,"}) {
    ASSERT_FALSE(parse_challenge(text).ok()) << text;
    EXPECT_EQ(parse_challenge(text).error().message, "unauthorized: access denied");
  }
  EXPECT_FALSE(parse_challenge("Bearer realm=" + std::string(kChallengeBytesMax, 'x')).ok());
}

}  // namespace
}  // namespace drover::registry
