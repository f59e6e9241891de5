#include "base/histogram.h"

#include <gtest/gtest.h>

#include "base/quote.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

constexpr double kBounds[] = {1, 2, 4};

TEST(Histogram, AValueBelongsToTheFirstBoundThatItDoesNotExceed) {
  Histogram histogram(kBounds);
  for (const double value : {-1.0, 0.0, 1.0, 1.5, 2.0, 4.0, 4.1, 1e300}) histogram.observe(value);
  EXPECT_EQ(histogram.count_at(0), 3u);
  EXPECT_EQ(histogram.count_at(1), 2u);
  EXPECT_EQ(histogram.count_at(2), 1u);
  EXPECT_EQ(histogram.count_at(3), 2u);
  EXPECT_EQ(histogram.count(), 8u);
}

TEST(Histogram, DurationsAreSeconds) {
  Histogram histogram(kBounds);
  histogram.observe(1500ms);
  histogram.observe(Duration(3s));
  EXPECT_EQ(histogram.count_at(1), 1u);
  EXPECT_EQ(histogram.count_at(2), 1u);
  EXPECT_DOUBLE_EQ(histogram.sum(), 4.5);
}

TEST(Histogram, AQuantileOfWhatCameBetween) {
  static constexpr double kFewBounds[] = {1, 2, 4};
  Histogram before(kFewBounds);
  before.observe(0.5);
  Histogram after(kFewBounds);
  after.add(before);
  EXPECT_EQ(quantile(before, after, 0.5), std::nullopt);
  for (const double value : {1.5, 1.5, 3.0, 3.0}) after.observe(value);
  EXPECT_EQ(quantile(before, after, 0.25), 1.5);
  EXPECT_EQ(quantile(before, after, 0.5), 2.0);
  EXPECT_EQ(quantile(before, after, 1), 4.0);
  after.observe(100.0);
  EXPECT_EQ(quantile(before, after, 1), 4.0) << "beyond the bounds nothing is known";
  EXPECT_EQ(after.count(), 6u);
}

std::string quoted(std::string_view text) {
  std::string out;
  append_quoted(out, text);
  return out;
}

TEST(Quote, EscapesWhatWouldBreakALine) {
  EXPECT_EQ(quoted("plain"), "\"plain\"");
  EXPECT_EQ(quoted("a\"b\\c\nd\re\x01\x7f"), R"("a\"b\\c\nd\u000de\u0001\u007f")");
  EXPECT_EQ(quoted(std::string_view("\0", 1)), R"("\u0000")");
}

TEST(Quote, EscapesWhatATerminalWouldObey) {
  const auto escaped = [](std::string_view text) {
    std::string out;
    append_escaped(out, text);
    return out;
  };
  EXPECT_EQ(escaped("as \"it\" \\ is: é€😀"), "as \"it\" \\ is: é€😀");
  EXPECT_EQ(escaped("a\nb\tc\x1b[2J\x7f"), R"(a\nb\u0009c\u001b[2J\u007f)");
  // C1, as UTF-8 and as a bare byte; separators of lines and paragraphs; bidi marks, overrides and isolates.
  EXPECT_EQ(escaped("\xc2\x85\xc2\x9b\x9b"), "\\u0085\\u009b\xef\xbf\xbd");
  EXPECT_EQ(escaped("\xe2\x80\xa8\xe2\x80\xa9"), R"(\u2028\u2029)");
  EXPECT_EQ(escaped("\xd8\x9c\xe2\x80\x8e\xe2\x80\x8f\xe2\x80\xaa\xe2\x80\xae\xe2\x81\xa6\xe2\x81\xa9"),
            R"(\u061c\u200e\u200f\u202a\u202e\u2066\u2069)");
  EXPECT_EQ(escaped("\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xaa\xc2\xa0"), "\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xaa\xc2\xa0");
  EXPECT_EQ(quoted("\xe2\x80\xa8\""), R"("\u2028\"")");
}

TEST(Quote, ShortensBetweenCharacters) {
  EXPECT_EQ(shortened("", 0), "");
  EXPECT_EQ(shortened("four", 4), "four");
  EXPECT_EQ(shortened("four", 3), "fou... (1 bytes more)");
  EXPECT_EQ(shortened("four", 0), "... (4 bytes more)");
  EXPECT_EQ(shortened("a😀b", 5), "a😀... (1 bytes more)");
  for (const std::size_t most : {2, 3, 4}) EXPECT_EQ(shortened("a😀b", most), "a... (5 bytes more)");
  EXPECT_EQ(shortened(std::string(10, '\x80'), 8), std::string(5, '\x80') + "... (5 bytes more)") << "no UTF-8";
}

TEST(Quote, WhatIsNoUtf8BecomesTheReplacementCharacter) {
  EXPECT_EQ(quoted("é€😀"), "\"é€😀\"");
  // A lone continuation, a cut character, an overlong slash, a surrogate, beyond Unicode.
  EXPECT_EQ(quoted("\x80"), "\"\xef\xbf\xbd\"");
  EXPECT_EQ(quoted("x\xe2\x82"), "\"x\xef\xbf\xbd\xef\xbf\xbd\"");
  EXPECT_EQ(quoted("\xc0\xaf"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
  EXPECT_EQ(quoted("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
  EXPECT_EQ(quoted("\xf4\x90\x80\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

}  // namespace
}  // namespace drover
