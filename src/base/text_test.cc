#include "base/text.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

TEST(Text, Trimmed) {
  EXPECT_EQ(trimmed(" \t\r\na b\n "), "a b");
  EXPECT_EQ(trimmed(" \n"), "");
  EXPECT_EQ(trimmed("'a'", "'"), "a");
}

TEST(Text, LettersOfAsciiHaveNoCase) {
  EXPECT_EQ(lower_case("Llama-3É"), "llama-3É");
  EXPECT_TRUE(equal_but_for_case("Bearer", "bEARER"));
  EXPECT_FALSE(equal_but_for_case("bear", "bearer"));
}

TEST(Text, HexadecimalDigits) {
  EXPECT_EQ(hex_value('0'), 0);
  EXPECT_EQ(hex_value('f'), 15);
  EXPECT_EQ(hex_value(U'A'), 10);
  for (const char c : {'g', 'G', '/', ':', '\xff'}) EXPECT_EQ(hex_value(c), -1);
}

TEST(Text, WhatMayBeTheStartOfAWord) {
  EXPECT_EQ(partial_match("a </th", "</think>"), 4u);
  EXPECT_EQ(partial_match("a </think>", "</think>"), 0u);
  EXPECT_EQ(partial_match("abc", ""), 0u);
}

}  // namespace
}  // namespace drover
