#include "api/warnings.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace drover::api {
namespace {

TEST(Warnings, EachOnceInTheOrderOfComing) {
  Warnings warnings;
  EXPECT_TRUE(warnings.empty());
  EXPECT_EQ(warnings.line(), "");
  warnings.add("user is ignored");
  warnings.add("tools of the type \"web_search\" are left out");
  warnings.add("user is ignored");
  warnings.add("min_tokens is ignored");
  EXPECT_EQ(warnings.line(), "user is ignored; tools of the type \"web_search\" are left out; min_tokens is ignored");
}

TEST(Warnings, WhatAClientSentIsMadePrintable) {
  Warnings warnings;
  warnings.add("a\r\nSet-Cookie: b\x1b[2J \xe2\x82\xac");
  EXPECT_EQ(warnings.line(), "a??Set-Cookie: b?[2J ???");
}

TEST(Warnings, AreBounded) {
  Warnings warnings;
  for (int i = 0; i < 5000; ++i) warnings.add(std::to_string(i) + std::string(5000, 'x'));
  const std::string line = warnings.line();
  EXPECT_LT(line.size(), 3000u);
  EXPECT_TRUE(line.ends_with("xxx...; and 4988 more")) << line;
}

}  // namespace
}  // namespace drover::api
