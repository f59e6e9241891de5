#include "store/modelfile.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <random>

namespace drover {
namespace {

using Commands = std::vector<ModelfileCommand>;

std::string error_of(std::string_view text) {
  const Result<Modelfile> file = Modelfile::parse(text);
  return file.ok() ? "" : file.error().message;
}

Commands parse(std::string_view text) {
  Result<Modelfile> file = Modelfile::parse(text);
  EXPECT_TRUE(file.ok()) << file.error().message;
  return file.ok() ? file->commands : Commands();
}

constexpr const char* kUnknownCommand =
    "command must be one of \"from\", \"license\", \"template\", \"system\", \"adapter\", \"draft\", \"renderer\", "
    "\"parser\", \"parameter\", \"message\", or \"requires\"";

TEST(Modelfile, TellsWhatIsWrongAndWhere) {
  EXPECT_EQ(error_of(""), "no FROM line");
  EXPECT_EQ(error_of("# FROM x\n"), "no FROM line");
  EXPECT_EQ(error_of("SYSTEM hi\n"), "no FROM line");
  EXPECT_EQ(error_of("FROM x\n\nBAD y\n"), std::string("(line 3): ") + kUnknownCommand);
  EXPECT_EQ(error_of("FROM\n"), std::string("(line 1): ") + kUnknownCommand);
  EXPECT_EQ(error_of("FROM x\r\nB4D y\r\n"), std::string("(line 2): ") + kUnknownCommand);
  EXPECT_EQ(error_of("FROM x\nMESSAGE robot hi\n"),
            "(line 2): message role must be one of \"system\", \"user\", or \"assistant\"");
  // A parameter by the name of a command would be taken for that command.
  for (const char* name : {"message", "system", "model", "from"}) {
    EXPECT_EQ(error_of(fmt::format("FROM x\nPARAMETER {} y\n", name)),
              fmt::format("(line 2): unknown parameter '{}'", name));
  }
  for (const char* text : {"FROM", "FROM x\nPARAMETER", "FROM x\nPARAMETER stop", "FROM x\nMESSAGE user",
                           "FROM x\nSYSTEM \"\"\"never closed", "FROM x\nSYSTEM \"never closed\nPARAMETER stop x"}) {
    EXPECT_EQ(error_of(text), "unexpected EOF") << text;
  }
  EXPECT_EQ(Modelfile::parse(std::string(kModelfileBytesMax + 1, '\n')).error().code, ErrorCode::kTooLarge);
}

TEST(Modelfile, ReadsAllCommands) {
  EXPECT_EQ(parse("# a comment\n"
                  "from ./model.gguf\n"
                  "  TEMPLATE {{ .Prompt }}  \n"
                  "\tSystem \"quoted \"\n"
                  "PARAMETER temperature 0.5\n"
                  "PARAMETER  stop  <|end|> \n"
                  "MESSAGE user how are you?\n"
                  "MESSAGE assistant \"\"\"fine:\n\n"
                  "  \"you\"? \"\"\"\n"
                  "LICENSE MIT # not a comment\n"
                  "ADAPTER ./a.gguf\nRENDERER r\nPARSER p\nREQUIRES 0.14.0\nDRAFT d"),
            (Commands{{"model", "./model.gguf"},
                      {"template", "{{ .Prompt }}"},
                      {"system", "quoted "},
                      {"temperature", "0.5"},
                      {"stop", "<|end|>"},
                      {"message", "user: how are you?"},
                      {"message", "assistant: fine:\n\n  \"you\"? "},
                      {"license", "MIT # not a comment"},
                      {"adapter", "./a.gguf"},
                      {"renderer", "r"},
                      {"parser", "p"},
                      {"requires", "0.14.0"},
                      {"draft", "d"}}));
}

TEST(Modelfile, ReadsOddQuotes) {
  EXPECT_EQ(parse("FROM x\nSYSTEM \"\"\"\"\"\"\n")[1].arguments, "");
  EXPECT_EQ(parse("FROM x\nSYSTEM \"\"\"a\"\nb\"\"\"\n")[1].arguments, "a\"\nb");
  EXPECT_EQ(parse("FROM x\nSYSTEM \"one\ntwo\"\n")[1].arguments, "one\ntwo");
  EXPECT_EQ(parse("FROM x\nSYSTEM say \"hi\"\n")[1].arguments, "say \"hi\"");
  EXPECT_EQ(parse("FROM x\nSYSTEM a\x01\x02z\n")[1].arguments, "az");
}

TEST(Modelfile, ReadsEveryEncoding) {
  const Commands expected = {{"model", "é😀"}};
  EXPECT_EQ(parse("FROM é😀\n"), expected);
  EXPECT_EQ(parse("\xEF\xBB\xBF"
                  "FROM é😀\r\n"),
            expected);
  const std::u16string text = u"\uFEFFFROM é😀\n";
  std::string little;
  std::string big;
  for (const char16_t unit : text) {
    little += {static_cast<char>(unit & 0xFF), static_cast<char>(unit >> 8)};
    big += {static_cast<char>(unit >> 8), static_cast<char>(unit & 0xFF)};
  }
  EXPECT_EQ(parse(little), expected);
  EXPECT_EQ(parse(big), expected);
  EXPECT_EQ(parse("FROM a\xFFz")[0].arguments, "a\xEF\xBF\xBDz");
}

TEST(Modelfile, PrintsWhatItReads) {
  const Modelfile file{{{"model", "cria"},
                        {"system", "plain"},
                        {"template", " {{ .System }}\n\"{{ .Prompt }}\""},
                        {"license", "two\nlines"},
                        {"system", "\"quoted\""},
                        {"stop", " "},
                        {"temperature", "0.5"},
                        {"message", "user: hi: there\nyou"}}};
  EXPECT_EQ(file.to_string(),
            "FROM cria\nSYSTEM plain\nTEMPLATE \"\"\" {{ .System }}\n\"{{ .Prompt }}\"\"\"\"\nLICENSE \"two\nlines\"\n"
            "SYSTEM \"\"\"\"quoted\"\"\"\"\nPARAMETER stop \" \"\nPARAMETER temperature 0.5\n"
            "MESSAGE user \"hi: there\nyou\"\n");
  EXPECT_EQ(parse(file.to_string()), file.commands);
}

TEST(Modelfile, SurvivesAnything) {
  const std::string pieces[] = {"FROM ", "SYSTEM ", "PARAMETER ", "MESSAGE ", "user ", "\"",       "\"\"\"", "\n",
                                "\r",    " ",       "x",          "#",        "\xFF",  "\xFE\xFF", "stop "};
  std::mt19937 random(1);
  for (int i = 0; i < 100'000; ++i) {
    std::string text;
    for (int n = static_cast<int>(random() % 12); n > 0; --n) text += pieces[random() % std::size(pieces)];
    const Result<Modelfile> file = Modelfile::parse(text);
    ASSERT_TRUE(file.ok() || !file.error().message.empty());
  }
}

}  // namespace
}  // namespace drover
