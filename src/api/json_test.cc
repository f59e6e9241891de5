#include "api/json.h"

#include <gtest/gtest.h>

#include "api/openai_request.h"

namespace drover::api {
namespace {

std::string error_of(std::string_view text) {
  const auto json = parse_json(text);
  return json ? "" : json.error().message;
}

std::string repeated(std::string_view text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

std::string keys(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += (i == 0 ? "\"o" : ",\"o") + std::to_string(i) + "\":1";
  return "{" + text + "}";
}

TEST(ParseJson, SaysWhatIsWrong) {
  EXPECT_EQ(error_of(" \n"), "missing request body");
  EXPECT_EQ(error_of("[1]"), "json: cannot unmarshal array into a request object");
  EXPECT_EQ(error_of("{"), "unexpected EOF");
  EXPECT_EQ(error_of(R"({"model": cria})"), "invalid character 'c' looking for beginning of value (at byte 11)");
}

TEST(ParseJson, NamesTheBound) {
  const auto nested = [](int depth) { return R"({"a":)" + std::string(depth, '[') + std::string(depth, ']') + "}"; };
  EXPECT_EQ(error_of(nested(511)), "");
  EXPECT_EQ(error_of(nested(512)), "json: exceeded max depth of 512");
  EXPECT_EQ(error_of(nested(1'000'000)), "json: exceeded max depth of 512");
  EXPECT_EQ(error_of(keys(16'384)), "");
  EXPECT_EQ(error_of(keys(16'385)), "json: exceeded max keys of 16384 in one object");
  EXPECT_EQ(error_of(R"({"a":[)" + repeated("1,", 2 << 20) + "1]}"), "json: exceeded max values of 2097152");
}

TEST(ParseJson, TakesWhatIsLargeAndHonest) {
  EXPECT_EQ(error_of(R"({"prompt":")" + std::string(60 << 20, 'x') + "\"}"), "");
  const std::string message = R"({"role":"user","content":"one two three"},)";
  EXPECT_EQ(error_of(R"({"messages":[)" + repeated(message, 99'999) + "{}]}"), "");
  EXPECT_EQ(error_of(R"({"input":[)" + repeated("[" + repeated("15496,", 999) + "1],", 1000) + "[]]}"), "");
}

// The arguments of a call are JSON in a string, which the depth of the body says nothing about.
TEST(OpenaiArguments, AreWithinTheBoundsOfABody) {
  const auto translated = [](const std::string& arguments, int calls = 1) {
    Json call = {{"id", "call_1"}, {"function", {{"name", "f"}, {"arguments", arguments}}}};
    Json list = Json::array();
    for (int i = 0; i < calls; ++i) list.push_back(call);
    Json message = {{"role", "assistant"}, {"content", ""}, {"tool_calls", list}};
    const auto result = translate_openai_chat({{"model", "m"}, {"messages", Json::array({message})}});
    return result ? "" : result.error().message;
  };
  EXPECT_EQ(translated(R"({"a":[1,2]})"), "");
  EXPECT_EQ(translated("{"), "invalid tool call arguments");
  EXPECT_EQ(translated("[]"), "invalid tool call arguments");
  EXPECT_EQ(translated(R"({"a":)" + std::string(100'000, '[')), "tool call arguments: json: exceeded max depth of 512");
  const std::string many = R"({"a":[)" + repeated("1,", 500'000) + "1]}";
  EXPECT_EQ(translated(many, 4), "");
  EXPECT_EQ(translated(many, 5), "tool call arguments: json: exceeded max values of 2097152");
}

}  // namespace
}  // namespace drover::api
