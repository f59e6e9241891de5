#include "api/json.h"

#include <fmt/format.h>
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

std::string read(std::string_view text) {
  const auto json = parse_json(text);
  return json ? json->dump() : json.error().message;
}

TEST(ParseJson, TakesKeysInAnyCase) {
  EXPECT_EQ(read(R"({"Model":"m","MESSAGES":[{"Role":"user","cOnTent":"x"}],"Stream":false})"),
            R"({"model":"m","messages":[{"role":"user","content":"x"}],"stream":false})");
  EXPECT_EQ(read(R"({"Model":"wrong","model":"right"})"), R"({"Model":"wrong","model":"right"})");
  EXPECT_EQ(read(R"({"model":"right","Model":"wrong"})"), R"({"model":"right","Model":"wrong"})");
  EXPECT_EQ(read(R"({"MODEL":"a","Model":"b"})"), R"({"MODEL":"a","model":"b"})");
  EXPECT_EQ(read(R"({"Messages":[{"Content":[{"Type":"text","Text":"x"}],)"
                 R"("Tool_Calls":[{"ID":"1","Function":{"Name":"f","Arguments":{"City":1}}}]}]})"),
            R"({"messages":[{"content":[{"type":"text","text":"x"}],)"
            R"("tool_calls":[{"id":"1","function":{"name":"f","arguments":{"City":1}}}]}]})");
  EXPECT_EQ(
      read(R"({"Tools":[{"Type":"function","Function":{"Name":"f","Parameters":{"Type":"object",)"
           R"("Properties":{"City":{"Type":"string","Enum":["A"]}},"Required":["City"],"ANYOF":[{"Type":"x"}]}}}]})"),
      R"({"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object",)"
      R"("properties":{"City":{"type":"string","enum":["A"]}},"required":["City"],"anyOf":[{"type":"x"}]}}}]})");
}

TEST(ParseJson, KeysOfDataMeanWhatTheyAre) {
  for (const char* text : {
           R"({"options":{"Temperature":1},"format":{"Type":"object","properties":{"A":{}}}})",
           R"({"messages":[{"content":[{"type":"tool_use","input":{"City":{"Name":1}}}]}]})",
           R"({"files":{"Model.gguf":"sha256:1"},"input":"X","metadata":{"User":"x"}})",
           R"({"tools":[{"input_schema":{"type":"object","properties":{"Type":{"type":"string"}}}}]})",
       }) {
    EXPECT_EQ(read(text), text);
  }
  // As many keys as there may be, each to be looked for among the others.
  std::string many;
  for (int i = 0; i < 16'000; ++i) many += fmt::format("\"K{}\":1,", i);
  EXPECT_TRUE(parse_json("{" + many + "\"Model\":\"m\"}")->contains("model"));
}

// The arguments of a call are JSON in a string, which the depth of the body says nothing about.
TEST(OpenaiArguments, AreWithinTheBoundsOfABody) {
  const auto error_of_arguments = [](const std::string& arguments, int calls = 1) {
    Json call = {{"id", "call_1"}, {"function", {{"name", "f"}, {"arguments", arguments}}}};
    Json list = Json::array();
    for (int i = 0; i < calls; ++i) list.push_back(call);
    Json message = {{"role", "assistant"}, {"content", ""}, {"tool_calls", list}};
    const auto result = read_openai_chat({{"model", "m"}, {"messages", Json::array({message})}});
    return result ? "" : result.error().message;
  };
  EXPECT_EQ(error_of_arguments(R"({"a":[1,2]})"), "");
  // What is no object is handed on as text.
  EXPECT_EQ(error_of_arguments("{"), "");
  EXPECT_EQ(error_of_arguments("[]"), "");
  EXPECT_EQ(error_of_arguments(R"({"a":)" + std::string(100'000, '[')),
            "tool call arguments: json: exceeded max depth of 512");
  const auto values = [](std::size_t count) { return R"({"a":[)" + repeated("1,", count) + "1]}"; };
  EXPECT_EQ(error_of_arguments(values(100'000), 2), "");
  EXPECT_EQ(error_of_arguments(values(100'000), 3), "tool call arguments: more than 262144 values in all");
  EXPECT_EQ(error_of_arguments(values(2 << 20)), "tool call arguments: json: exceeded max values of 2097152");
}

}  // namespace
}  // namespace drover::api
