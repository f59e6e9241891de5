#include "terminal/format.h"

#include <gtest/gtest.h>

#include "terminal/progress.h"
#include "terminal/table.h"
#include "terminal/terminal.h"
#include "terminal/word_wrap.h"

namespace drover::cli {
namespace {

using namespace std::chrono_literals;

TEST(Format, BytesAreDecimalAndShort) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1 KB");
  EXPECT_EQ(human_bytes(1500), "1.5 KB");
  EXPECT_EQ(human_bytes(3'200'000), "3.2 MB");
  EXPECT_EQ(human_bytes(274'300'000), "274 MB");
  EXPECT_EQ(human_bytes(4'661'224'676), "4.7 GB");
  EXPECT_EQ(human_bytes(13'900'000'000), "13 GB");
  EXPECT_EQ(human_bytes(1'200'000'000'000), "1.2 TB");
}

TEST(Format, Numbers) {
  EXPECT_EQ(human_number(999), "999");
  EXPECT_EQ(human_number(12'345), "12K");
  EXPECT_EQ(human_number(3'000'000), "3M");
  EXPECT_EQ(human_number(137'022'720), "137.02M");
  EXPECT_EQ(human_number(3'212'749'888), "3.2B");
}

TEST(Format, DurationsForPeople) {
  EXPECT_EQ(human_duration(999ms), "Less than a second");
  EXPECT_EQ(human_duration(1s), "1 second");
  EXPECT_EQ(human_duration(59s), "59 seconds");
  EXPECT_EQ(human_duration(60s), "About a minute");
  EXPECT_EQ(human_duration(-299s), "4 minutes");
  EXPECT_EQ(human_duration(61min), "About an hour");
  EXPECT_EQ(human_duration(91min), "2 hours");
  EXPECT_EQ(human_duration(48h), "2 days");
  EXPECT_EQ(human_duration(24h * 20), "2 weeks");
  EXPECT_EQ(human_duration(24h * 90), "3 months");
  EXPECT_EQ(human_duration(24h * 365 * 3), "3 years");
}

TEST(Format, TimesRelativeToNow) {
  const Timestamp now = *parse_timestamp("2026-08-01T12:00:00Z");
  EXPECT_EQ(human_time(now - 2h, now), "2 hours ago");
  EXPECT_EQ(human_time(now, now), "Less than a second ago");
  EXPECT_EQ(human_time(now + 299500ms, now), "4 minutes from now");
  EXPECT_EQ(human_time(*parse_timestamp("2318-11-10T22:00:00Z"), now), "Forever");
  EXPECT_EQ(human_time(*parse_timestamp("0001-01-01T00:00:00Z"), now), "Never");
}

TEST(Format, TimestampsOfTheApi) {
  const auto base = parse_timestamp("2026-08-01T12:00:00Z");
  ASSERT_TRUE(base);
  EXPECT_EQ(*parse_timestamp("2026-08-01T12:00:00.123456789Z") - *base, 123ms);
  EXPECT_EQ(*parse_timestamp("2026-08-01T14:00:00+02:00") - *base, 0ms);
  EXPECT_EQ(*parse_timestamp("2026-08-01T04:30:00.5-07:30") - *base, 500ms);
  for (const char* wrong :
       {"", "2026", "2026-08-01", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-08-01T24:00:00Z",
        "2026-08-01T12:00:00", "2026-08-01T12:00:00Zx", "2026-08-01T12:00:00+02", "20x6-08-01T12:00:00Z"}) {
    EXPECT_FALSE(parse_timestamp(wrong)) << wrong;
  }
}

TEST(Format, DurationsAsGoPrintsThem) {
  EXPECT_EQ(go_duration_text(0ns), "0s");
  EXPECT_EQ(go_duration_text(17ns), "17ns");
  EXPECT_EQ(go_duration_text(12300ns), "12.3µs");
  EXPECT_EQ(go_duration_text(5'200'300ns), "5.2003ms");
  EXPECT_EQ(go_duration_text(1'234'567'891ns), "1.234567891s");
  EXPECT_EQ(go_duration_text(2s), "2s");
  EXPECT_EQ(go_duration_text(123'250ms), "2m3.25s");
  EXPECT_EQ(go_duration_text(3600s), "1h0m0s");
  EXPECT_EQ(go_duration_text(-1500ms), "-1.5s");
  EXPECT_EQ(go_duration_text(std::chrono::nanoseconds::min()), "-2562047h47m16.854775808s");
}

TEST(Format, Quotes) {
  EXPECT_EQ(in_quotes("a\"b\\c\n\x1b"), R"("a\"b\\c\n\x1b")");
}

TEST(Format, Words) {
  EXPECT_EQ(split_words("  /set  parameter\tstop  a "), (std::vector<std::string>{"/set", "parameter", "stop", "a"}));
  EXPECT_TRUE(split_words(" \t ").empty());
}

TEST(Terminal, WidthAndClipping) {
  use_utf8_locale();
  EXPECT_EQ(display_width("日本a"), 5);
  EXPECT_EQ(clip("日本a", 3), "日");
  EXPECT_EQ(clip("abc", 10), "abc");
}

TEST(Terminal, NothingSteersTheTerminal) {
  EXPECT_EQ(printable("a\x1b[31mb\x07\r\n\tc\x7f\xc2\x9b"), "a[31mb\n\tc");
}

TEST(Table, ColumnsAreLeftAlignedAndFourApart) {
  use_utf8_locale();
  EXPECT_EQ(format_table({{"NAME", "ID"}, {"日本:latest", "abc"}, {"x"}}),
            "NAME           ID\n"
            "日本:latest    abc\n"
            "x\n");
  EXPECT_EQ(format_table({{"a\n\x1b[31mb", "c"}}), "a [31mb    c\n");
}

TEST(ProgressBar, FillsTheLine) {
  use_utf8_locale();
  const BarState half = {"copying", 0, 150'000'000, 300'000'000};
  const std::string line = format_bar(half, 1s, 70);
  EXPECT_EQ(line, "copying  50% ▕███████████            ▏ 150 MB/300 MB  150 MB/s      1s");
  EXPECT_EQ(display_width(line), 70);
  const BarState done = {"copying", 0, 300'000'000, 300'000'000};
  EXPECT_EQ(format_bar(done, 1s, 70), "copying 100% ▕███████████████████████▏ 300 MB                         ");
}

TEST(ProgressBar, SaysTheEssentialWhereThereIsNoRoom) {
  EXPECT_EQ(format_bar({"copying", 0, 1, 2}, 1s, 20), "copying  50%");
  EXPECT_EQ(format_bar({"empty", 0, 0, 0}, 0s, 20), "empty 100%");
}

TEST(ProgressBar, NeverSaysDoneTooEarly) {
  EXPECT_NE(format_bar({"m", 0, 999, 1000}, 1s, 20).find(" 99%"), std::string::npos);
}

TEST(WordWrapTest, TakesAWordToTheNextLine) {
  WordWrap wrap;  // 30 columns less a margin of 5
  EXPECT_EQ(wrap.feed("twenty-four columns long", 30), "twenty-four columns long");
  EXPECT_EQ(wrap.feed("er", 30), "e\x1b[5D\x1b[K\nlonger");
  EXPECT_EQ(wrap.feed(" and on", 30), " and on");
}

TEST(WordWrapTest, DropsTheBlankAtTheEndOfALine) {
  WordWrap wrap;
  EXPECT_EQ(wrap.feed("twenty-five columns long. Next", 30), "twenty-five columns long.\nNext");
}

TEST(WordWrapTest, CutsWhatIsNoWord) {
  WordWrap wrap;
  const std::string url(40, 'x');
  EXPECT_EQ(wrap.feed(url, 30), std::string(25, 'x') + "\n" + std::string(15, 'x'));
}

TEST(WordWrapTest, JoinsCharactersThatArriveInPieces) {
  WordWrap wrap;
  EXPECT_EQ(wrap.feed("a\xe2\x82", 30), "a");
  EXPECT_EQ(wrap.feed("\xac", 30), "€");
  EXPECT_EQ(wrap.finish(), "");
  EXPECT_EQ(wrap.feed("a\xe2\x82", 30), "a");
  EXPECT_EQ(wrap.finish(), "\xef\xbf\xbd");
}

TEST(WordWrapTest, LeavesNarrowTerminalsAndFilesAlone) {
  const std::string text = "one two three four five six seven eight nine ten";
  EXPECT_EQ(WordWrap().feed(text, 0), text);
  EXPECT_EQ(WordWrap().feed(text, 12), text);
}

}  // namespace
}  // namespace drover::cli
