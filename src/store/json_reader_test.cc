#include "store/json_reader.h"

#include <gtest/gtest.h>
#include <time.h>

#include <fmt/core.h>

namespace drover {
namespace {

using nlohmann::ordered_json;
using Kind = JsonFault::Kind;

constexpr JsonBounds kSmall{.depth_max = 3, .keys_max = 4, .values_max = 12};
constexpr JsonBounds kLarge{.depth_max = 512, .keys_max = 16'384, .values_max = 2'000'000};

std::string repeated(std::string_view text, std::size_t times) {
  std::string all;
  all.reserve(text.size() * times);
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

std::string dumped(std::string_view text, const JsonBounds& bounds = kLarge) {
  ordered_json json;
  const auto fault = JsonReader(bounds).read(text, json);
  return fault ? fault->message : json.dump();
}

std::optional<Kind> fault_of(std::string_view text, const JsonBounds& bounds = kSmall) {
  ordered_json json = "untouched";
  const auto fault = JsonReader(bounds).read(text, json);
  if (!fault) return std::nullopt;
  EXPECT_EQ(json, "untouched");
  return fault->kind;
}

// Of this thread's processor time: what else runs does not count.
double seconds_of(const std::string& text, const JsonBounds& bounds) {
  const auto now = [] {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  };
  const double start = now();
  ordered_json json;
  JsonReader(bounds).read(text, json);
  return now() - start;
}

TEST(JsonReader, ReadsWhatTheLibraryReads) {
  for (const char* text : {
           R"({})",
           R"([])",
           R"("x")",
           R"(-0.5e3)",
           R"(null)",
           R"({"b":1,"a":[true,false,null,{"":{}}],"c":"\u00e4\"\\\n"})",
           R"([18446744073709551615,-9223372036854775808,1e300,"\ud83d\ude00"])",
           R"( [ [ ] , { } ] )",
       }) {
    EXPECT_EQ(dumped(text), ordered_json::parse(text).dump()) << text;
  }
}

TEST(JsonReader, KeepsTheOrderOfKeysAndTheLastOfTheSame) {
  EXPECT_EQ(dumped(R"({"b":1,"a":2,"b":3})"), R"({"b":3,"a":2})");
  EXPECT_EQ(dumped(R"({"b":{"c":1},"b":{"d":2},"b":{}})"), R"({"b":{}})");
  std::string many = R"({"z":0)";
  std::string expected = R"({"z":40)";
  for (int i = 40; i > 0; --i) expected += fmt::format(R"(,"k{}":{})", i, i + 1);
  for (const int more : {0, 1}) {
    for (int i = 40; i > 0; --i) many += fmt::format(R"(,"k{}":{})", i, i + more);
  }
  EXPECT_EQ(dumped(many + R"(,"z":40})"), expected + "}");
}

// As Go's encoding/json reads them: of a pair that is none each half by itself, of bytes each one.
TEST(JsonReader, WhatIsNoUnicodeIsReplaced) {
  constexpr const char* kNone = "\xef\xbf\xbd";
  const auto is = [&](const std::string& text, const std::string& expected) {
    EXPECT_EQ(dumped("\"" + text + "\""), "\"" + expected + "\"") << text;
    EXPECT_EQ(dumped("{\"" + text + "\":[\"a" + text + "b\"]}"), "{\"" + expected + "\":[\"a" + expected + "b\"]}")
        << text;
  };
  const std::string none = kNone;
  const std::string emoji = "\xf0\x9f\x98\x80";
  is(R"(\ud83d)", none);
  is(R"(\uD83D)", none);
  is(R"(\ude00)", none);
  is(R"(\ud83dx)", none + "x");
  is(R"(\ud83d\n)", none + "\\n");
  is(R"(\ud83d\u0041)", none + "A");
  is(R"(\ude00\ud83d)", none + none);
  is(R"(\ud83d\ud83d\ude00)", none + emoji);
  is(R"(\ud83d\ude00\ude00)", emoji + none);
  is(R"(\\ud83d)", R"(\\ud83d)");
  is(R"(\\\ud83d)", R"(\\)" + none);
  is(R"(\"\ud83d\")", R"(\")" + none + R"(\")");
  is("\xff", none);
  is("\xed\xa0\x80", none + none + none);
  is("\xe2\x82", none + none);
  is("\xc0\xaf", none + none);
  is("\xf4\x90\x80\x80", none + none + none + none);
  is("\xc3\xa4\xc3", "\xc3\xa4" + none);
  EXPECT_EQ(fault_of(R"("\ud83)"), Kind::kSyntax);
  EXPECT_EQ(fault_of(R"("\ud83d)"), Kind::kSyntax);
  EXPECT_EQ(fault_of(R"(["\ud8zz"])"), Kind::kSyntax);
  EXPECT_EQ(fault_of(R"(\ud83d)"), Kind::kSyntax);
  EXPECT_EQ(dumped(R"({"a":"\ud83d","b": c})"), "invalid character 'c' looking for beginning of value (at byte 20)");
}

TEST(JsonReader, SaysWhereTheSyntaxIsWrong) {
  EXPECT_EQ(dumped("{"), "unexpected EOF");
  EXPECT_EQ(dumped(R"({"a)"), "unexpected EOF");
  EXPECT_EQ(dumped(R"({"a": b})"), "invalid character 'b' looking for beginning of value (at byte 7)");
  EXPECT_EQ(dumped("{\"a\": \xff}"), "invalid character '\\xff' looking for beginning of value (at byte 7)");
  EXPECT_EQ(fault_of("[1] 2"), Kind::kSyntax);
  EXPECT_EQ(dumped("1e999"), "json: cannot unmarshal number 1e999 into Go value of type float64");
  EXPECT_LT(dumped(std::string(1'000'000, '1')).size(), 120U);
}

TEST(JsonReader, TakesWhatIsAtABoundAndNotOneMore) {
  EXPECT_EQ(fault_of("[[[1]]]"), std::nullopt);
  EXPECT_EQ(fault_of("[[[[]]]]"), Kind::kDepth);
  EXPECT_EQ(fault_of(R"({"a":[{"b":1}]})"), std::nullopt);
  EXPECT_EQ(fault_of(R"({"a":[{"b":{}}]})"), Kind::kDepth);
  EXPECT_EQ(fault_of(R"([[],[],[[]],{"a":"[[[[\"[[[["}])"), std::nullopt) << "brackets in strings are none";
  EXPECT_EQ(fault_of(R"(["\"",[["\""]]])"), std::nullopt);
  EXPECT_EQ(fault_of(R"(["\"",[[[]]]])"), Kind::kDepth) << "an escaped quote does not end a string";
  EXPECT_EQ(fault_of(R"({"a":1,"b":2,"c":3,"d":4})"), std::nullopt);
  EXPECT_EQ(fault_of(R"({"a":1,"b":2,"c":3,"d":4,"a":5})"), Kind::kKeys);
  EXPECT_EQ(fault_of("[1,2,3,4,5,6,7,8,9,10,11]"), std::nullopt);
  EXPECT_EQ(fault_of("[1,2,3,4,5,6,7,8,9,10,11,12]"), Kind::kValues);
  EXPECT_EQ(fault_of("[[],[],[],[],[],[],[],[],[],[],[],[]]"), Kind::kValues);
  EXPECT_EQ(dumped("[[[[", kSmall), "json: exceeded max depth of 3");
  EXPECT_EQ(dumped(R"({"a":1,"b":2,"c":3,"d":4,"e":5})", kSmall), "json: exceeded max keys of 4 in one object");
  EXPECT_EQ(dumped("[1,2,3,4,5,6,7,8,9,10,11,12]", kSmall), "json: exceeded max values of 12");
}

TEST(JsonReader, SeveralTextsShareTheirValues) {
  JsonReader reader(kSmall);
  ordered_json json;
  EXPECT_FALSE(reader.read("[1,2,3,4,5]", json));
  EXPECT_FALSE(reader.read("[1,2,3,4,5]", json));
  EXPECT_EQ(reader.read("1", json)->kind, Kind::kValues);
}

TEST(JsonReader, HostileTextsCostNoMoreThanTheirLegalPart) {
  constexpr JsonBounds kFew{.depth_max = 512, .keys_max = 16'384, .values_max = 100'000};
  const std::string legal = "[" + repeated("[],", kFew.values_max - 2) + "[]]";
  EXPECT_EQ(fault_of(legal, kFew), std::nullopt);
  const double most = 3 * seconds_of(legal, kFew);
  EXPECT_EQ(fault_of(std::string(4 << 20, '['), kFew), Kind::kDepth);
  EXPECT_LT(seconds_of(std::string(4 << 20, '['), kFew), most);
  EXPECT_LT(seconds_of("[" + repeated("[],", 2 << 20), kFew), most);
  EXPECT_LT(seconds_of(repeated(R"({"a":)", 1 << 20), kFew), most);
}

TEST(JsonReader, ManyKeysCostInProportion) {
  const auto keys = [](int count) {
    std::string text = "{";
    for (int i = 0; i < count; ++i) text += fmt::format("\"o{}\":1,", i);
    return text + "\"\":1}";
  };
  EXPECT_EQ(fault_of(keys(20'000), kLarge), Kind::kKeys);
  const JsonBounds many_keys{.depth_max = 512, .keys_max = 1'000'000, .values_max = 2'000'000};
  // 8 times the keys: some 8 times as long. Looking each one up in turn would take 64 times as long.
  EXPECT_LT(seconds_of(keys(80'000), many_keys), 30 * seconds_of(keys(10'000), many_keys));
}

// Each level gets a second key after a large value: a builder that copies on growth copies the whole at each.
TEST(JsonReader, DeepObjectsAreNotCopiedAtEachLevel) {
  const std::string big = "[" + repeated("1,", 100'000) + "1]";
  const auto levels = [&](std::size_t count) {
    return repeated(R"({"a":)", count) + big + repeated(R"(,"b":1,"c":1})", count);
  };
  EXPECT_EQ(fault_of(levels(500), kLarge), std::nullopt);
  EXPECT_LT(seconds_of(levels(500), kLarge), 20 * seconds_of(levels(1), kLarge));
}

}  // namespace
}  // namespace drover
