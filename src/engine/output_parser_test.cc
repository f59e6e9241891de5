#include "engine/output_parser.h"

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

namespace drover {
namespace {

struct Parsed {
  std::string content, thinking;
  bool stopped = false;
};

// Feeds `text` in pieces of the given size, as tokens would come.
Parsed parse(std::string_view text, std::size_t piece, OutputSyntax syntax, std::vector<std::string> stops) {
  OutputParser parser(std::move(syntax), std::move(stops));
  Parsed result;
  OutputPiece out;
  for (std::size_t at = 0; at < text.size() && !result.stopped; at += piece) {
    result.stopped = parser.push(text.substr(at, piece), out);
  }
  parser.finish(false, out);
  result.content = out.content;
  result.thinking = out.thinking;
  return result;
}

OutputSyntax thinking(bool inside) {
  OutputSyntax syntax;
  syntax.kind = OutputSyntax::Kind::kThinking;
  syntax.thinking_start = "<think>";
  syntax.thinking_end = "</think>";
  syntax.starts_in_thinking = inside;
  return syntax;
}

TEST(OutputParser, AFormatThatIsNoneIsRefused) {
  for (const int format : {-1, 1000}) {
    OutputSyntax syntax;
    syntax.kind = OutputSyntax::Kind::kParser;
    syntax.format = format;
    EXPECT_THROW(OutputParser(syntax, {}), std::invalid_argument) << format;
  }
}

TEST(OutputParser, EndsAtStopStringsHoweverTheyAreCut) {
  for (std::size_t piece = 1; piece < 12; ++piece) {
    const Parsed result = parse("one, two STOP three", piece, {}, {"STOP", "never"});
    EXPECT_EQ(result.content, "one, two ") << piece;
    EXPECT_TRUE(result.stopped);
  }
}

TEST(OutputParser, TheEarliestStopStringWins) {
  EXPECT_EQ(parse("abcdef", 6, {}, {"e", "cd"}).content, "ab");
}

TEST(OutputParser, GivesBackWhatOnlyLookedLikeAStopString) {
  for (std::size_t piece = 1; piece < 8; ++piece) {
    EXPECT_EQ(parse("ST STO STOO ST", piece, {}, {"STOP"}).content, "ST STO STOO ST") << piece;
  }
}

TEST(OutputParser, HoldsTextBackOnlyWhileItIsUncertain) {
  OutputParser parser({}, {"STOP"});
  OutputPiece out;
  parser.push("hello S", out);
  EXPECT_EQ(out.content, "hello ");
  parser.push("un", out);
  EXPECT_EQ(out.content, "hello Sun");
}

TEST(OutputParser, NeverCutsACharacter) {
  const std::string text = "naïve 日本語 🦙!";
  for (std::size_t piece = 1; piece < 6; ++piece) {
    OutputParser parser({}, {});
    std::string all;
    for (std::size_t at = 0; at < text.size(); at += piece) {
      OutputPiece out;
      parser.push(std::string_view(text).substr(at, piece), out);
      // What comes out must be valid by itself: no byte of it is a character's second half without its first.
      if (!out.content.empty()) {
        EXPECT_NE(static_cast<unsigned char>(out.content.front()) & 0xC0, 0x80);
      }
      all += out.content;
    }
    EXPECT_EQ(all, text) << piece;
  }
}

TEST(OutputParser, ReplacesBytesThatAreNoCharacters) {
  EXPECT_EQ(parse("a\xff"
                  "b",
                  1, {}, {})
                .content,
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(parse("a\xe6\x97", 1, {}, {}).content, "a");                                        // its rest never came
  EXPECT_EQ(parse("\xed\xa0\x80", 1, {}, {}).content, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
}

TEST(OutputParser, SplitsThinkingHoweverItIsCut) {
  for (std::size_t piece = 1; piece < 40; ++piece) {
    const Parsed tagged = parse("<think>\nlet me see\n</think>\n\nThe answer", piece, thinking(false), {});
    EXPECT_EQ(tagged.thinking, "let me see") << piece;
    EXPECT_EQ(tagged.content, "The answer") << piece;
    const Parsed opened = parse("let me see\n</think>\n\nThe answer", piece, thinking(true), {});
    EXPECT_EQ(opened.thinking, "let me see") << piece;
    EXPECT_EQ(opened.content, "The answer") << piece;
    const Parsed none = parse("The answer <think>", piece, thinking(false), {});
    EXPECT_EQ(none.thinking, "") << piece;
    EXPECT_EQ(none.content, "The answer <think>") << piece;
    const Parsed endless = parse("<think>and so on", piece, thinking(false), {});
    EXPECT_EQ(endless.thinking, "and so on") << piece;
    EXPECT_EQ(endless.content, "") << piece;
  }
}

// Whatever the bytes and however they are cut, the result is the same.
TEST(OutputParser, CutsDoNotMatter) {
  std::mt19937 random(7);
  const std::string alphabet = "<>/think S\n\xc3\xa4\xf0\x9f";
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (std::size_t i = random() % 60; i > 0; --i) text += alphabet[random() % alphabet.size()];
    const bool inside = round % 2 == 0;
    const Parsed whole = parse(text, std::max<std::size_t>(text.size(), 1), thinking(inside), {"S<"});
    const Parsed cut = parse(text, 1 + random() % 5, thinking(inside), {"S<"});
    ASSERT_EQ(whole.content, cut.content) << round << ": " << text;
    ASSERT_EQ(whole.thinking, cut.thinking) << round << ": " << text;
  }
}

}  // namespace
}  // namespace drover
