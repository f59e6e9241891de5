#include "engine/json_calls.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

namespace drover {
namespace {

constexpr const char* kTools = R"([{"type":"function","function":{"name":"get_weather"}},
  {"type":"function","function":{"name":"get_weather_of_tomorrow"}}, 5, {"function": 7}, {"function":{"name":8}}])";

// What a text is taken apart into, "content|name(arguments)…", fed in pieces of the given size.
std::string parse(std::string_view tag, std::string_view text, std::size_t piece, std::string_view tools = kTools) {
  JsonCalls parser(tag, tools);
  std::string content;
  std::vector<JsonCalls::Call> calls;
  for (std::size_t at = 0; at < text.size(); at += piece) parser.push(text.substr(at, piece), false, content, calls);
  parser.push("", true, content, calls);
  for (const JsonCalls::Call& call : calls) content += fmt::format("|{}({})", call.name, call.arguments_json);
  return content;
}

void expect(std::string_view tag, std::string_view text, std::string_view wanted) {
  for (std::size_t piece = 1; piece < 100; piece += piece < 12 ? 1 : 13) {
    EXPECT_EQ(parse(tag, text, piece), wanted) << text << ", " << piece << " bytes at a time";
  }
}

TEST(JsonCalls, WhatIsNoCallIsText) {
  for (const char* tag : {"{", "<tool_call>", "[TOOL_CALLS] ["}) {
    for (const char* text :
         {"", " ", "The weather is fine.\n", "{", "{}", "[", "[]", "[1, 2]", "[a link](to.here) and more",
          R"({"name": "get_wea)", R"({"name": "no_such_tool", "arguments": {}})", R"({"name": 5, "arguments": {}})",
          R"({"answer": {"name": "get_weather"}} and text)", R"({"name": "get_weather")", "{\"\\\"}\": 1} {} {",
          R"(Say {"name": "get_weather", "arguments": {}} to call it.)", "<tool_", "[TOOL", "a < b <tool c"}) {
      if (std::string_view(text).starts_with("Say") && *tag == '[') continue;
      expect(tag, text, text);
    }
  }
  expect("<tool_call>", "<tool_call>\nget_", "<tool_call>\nget_");
  expect("<tool_call>", "<tool_call>{\"name\": \"x\"}</tool_call>", "<tool_call>{\"name\": \"x\"}</tool_call>");
  EXPECT_EQ(parse("{", R"({"name": "get_weather"})", 5, "nonsense"), R"({"name": "get_weather"})");
  std::string deep = R"({"name": "get_weather", "arguments": )";
  for (int i = 0; i < 1000; ++i) deep += "{\"a\":";
  deep += "1" + std::string(1001, '}');
  EXPECT_EQ(parse("{", deep, 7), deep);
}

TEST(JsonCalls, CallsInTheFormsThatModelsUse) {
  constexpr const char* kCall = R"(|get_weather({"city":"Rome"}))";
  expect("<tool_call>", "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>",
         kCall);
  expect("{", R"({"name": "get_weather", "parameters": {"city": "Rome"}})", kCall);
  expect("{", R"( {"type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Rome\"}"}})",
         kCall);
  expect("[TOOL_CALLS] [", R"([TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Rome"}}])", kCall);
  expect("[TOOL_CALLS] [", R"([TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Rome"}}] )", kCall);
  expect("[TOOL_CALLS] [", R"([TOOL_CALLS]get_weather[ARGS]{"city":"Rome"})", kCall);
  expect("Action: ```json\n[",
         "Action: ```json\n[{\"tool_name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}]```", kCall);
  // Tags that are tokens of their own are not shown.
  expect("[TOOL_CALLS] [", R"( [{"name": "get_weather", "arguments": {"city": "Rome"}}])", kCall);
  expect("<tool_call>", R"({"name": "get_weather", "arguments": {"city": "Rome"}})", kCall);
  expect("{", R"({"name": "get_weather"})", "|get_weather({})");
  expect("{", R"({"name": "get_weather", "arguments": {"city": "\"}{é\\"}})", R"(|get_weather({"city":"\"}{é\\"}))");
}

TEST(JsonCalls, SeveralAndTextAroundThem) {
  expect("<tool_call>",
         "I will look.\n<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"n\": 1.50}}</tool_call>\n<tool_call>\n"
         "{\"name\": \"get_weather_of_tomorrow\", \"arguments\": {}}\n</tool_call>\n",
         R"(I will look.|get_weather({"n":1.5})|get_weather_of_tomorrow({}))");
  expect("{", R"([{"name": "get_weather", "arguments": {}}, {"name": "get_weather_of_tomorrow", "arguments": {}}])",
         "|get_weather({})|get_weather_of_tomorrow({})");
  expect("{", R"({"name": "get_weather"}; {"name": "get_weather"})", "|get_weather({})|get_weather({})");
  expect("[TOOL_CALLS]", R"([TOOL_CALLS]get_weather_of_tomorrow{})", "|get_weather_of_tomorrow({})");
  expect("<tool_call>", R"(<tool_call>{"name": "get_weather"}</tool_call> Done.)",
         "</tool_call> Done.|get_weather({})");
}

TEST(JsonCalls, TextComesAsSoonAsItIsCertain) {
  JsonCalls parser("<tool_call>", kTools);
  std::string content;
  std::vector<JsonCalls::Call> calls;
  parser.push("Hello <to", false, content, calls);
  EXPECT_EQ(content, "Hello");
  parser.push("day>", false, content, calls);
  EXPECT_EQ(content, "Hello <today>");
  parser.push("<tool_call>{\"name\":\"get_weather\"}", false, content, calls);
  EXPECT_EQ(calls.size(), 1u) << "before the tag is closed";
}

TEST(JsonCalls, ArgumentsInAStringThatNothingCouldPrintAreNone) {
  const std::string deep = R"({\"a\":)" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}";
  const std::string whole =
      parse("<tool_call>", R"(<tool_call>{"name":"get_weather","arguments":")" + deep + R"("}</tool_call>)", 1 << 20);
  EXPECT_EQ(whole.size(), parse("<tool_call>", R"(<tool_call>{"name":"get_weather"}</tool_call>)", 1000).size());
}

TEST(JsonCalls, SurvivesNoise) {
  std::mt19937_64 random(7);
  const std::vector<std::string> parts = {"{",           "}",
                                          "[",           "]",
                                          "\"",          "\\",
                                          "<tool_call>", "</tool_call>",
                                          "\"name\":",   "\"get_weather\"",
                                          ",",           " ",
                                          "x",           "\"arguments\":",
                                          "é",           "\n"};
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (std::size_t i = random() % 30; i > 0; --i) text += parts[random() % parts.size()];
    const std::string whole = parse("<tool_call>", text, 1000);
    EXPECT_EQ(parse("<tool_call>", text, 1 + random() % 5), whole) << text;
    if (whole.find('|') == std::string::npos) {
      EXPECT_EQ(whole, text);
    }
  }
}

}  // namespace
}  // namespace drover
