#include "base/utf8.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

constexpr const char* kWrong[] = {"\xff",
                                  "\xc0\x80",
                                  "\xc1\xbf",
                                  "\xe0\x80\x80",
                                  "\xed\xa0\x80",
                                  "\xf0\x80\x80\x80",
                                  "\xf4\x90\x80\x80",
                                  "\xf5\x80\x80\x80",
                                  "\xe2\x82",
                                  "\x80"};

TEST(Utf8, ReadsCharacters) {
  EXPECT_EQ(first_utf8_character("a").code, U'a');
  EXPECT_EQ(first_utf8_character("é").code, U'é');
  EXPECT_EQ(first_utf8_character("€").code, U'€');
  EXPECT_EQ(first_utf8_character("🦙 and more").code, U'🦙');
  EXPECT_EQ(first_utf8_character("🦙 and more").bytes, 4u);
  EXPECT_EQ(character_bytes("🦙"), 4u);
  EXPECT_EQ(character_bytes(""), 0u);
}

TEST(Utf8, WhatIsNoCharacterIsOneByteAndReplaced) {
  for (const char* wrong : kWrong) {
    EXPECT_EQ(character_bytes(wrong), 0u) << wrong;
    EXPECT_EQ(first_utf8_character(wrong).code, char32_t{0xfffd}) << wrong;
    EXPECT_EQ(first_utf8_character(wrong).bytes, 1u) << wrong;
  }
  EXPECT_EQ(valid_utf8("a\xff€\xe2\x82"), "a\xef\xbf\xbd€\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(valid_utf8("plain"), "plain");
}

TEST(Utf8, KnowsACharacterWhoseRestIsMissing) {
  EXPECT_EQ(incomplete_utf8_bytes("ab\xf0\x9f\xa6"), 3u);
  EXPECT_EQ(incomplete_utf8_bytes("ab\xe2"), 1u);
  EXPECT_EQ(incomplete_utf8_bytes("ab\xe2\x82\xac"), 0u);
  EXPECT_EQ(incomplete_utf8_bytes("\x80\x80\x80\x80"), 0u);
  EXPECT_EQ(incomplete_utf8_bytes(""), 0u);
}

TEST(Utf8, CountsCharacters) {
  EXPECT_EQ(character_count(""), 0u);
  EXPECT_EQ(character_count("aé€🦙"), 4u);
}

TEST(Utf8, WritesWhatItReads) {
  for (const char* character :
       {"a", "é", "€", "🦙", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xf4\x8f\xbf\xbf"}) {
    std::string text;
    append_utf8(text, first_utf8_character(character).code);
    EXPECT_EQ(text, character);
  }
  for (const std::int64_t code :
       {std::int64_t{-1}, std::int64_t{0xd800}, std::int64_t{0x110000}, std::int64_t{1} << 40}) {
    std::string text;
    append_utf8(text, code);
    EXPECT_EQ(text, kReplacementCharacter);
  }
}

}  // namespace
}  // namespace drover
