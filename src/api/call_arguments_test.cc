#include "api/call_arguments.h"

#include <gtest/gtest.h>

namespace drover::api {
namespace {

struct Read {
  std::string text;
  bool warned = false;
};

Read read(const Json& given) {
  JsonReader reader(kBodyBounds);
  Warnings warnings;
  const auto arguments = call_arguments(&given, reader, warnings);
  return {arguments ? arguments->dump() : arguments.error().message, !warnings.empty()};
}

TEST(CallArguments, WhatIsAnObjectStaysOne) {
  for (const Json& given : {Json{{"b", 1}, {"a", {2}}}, Json(R"({"b":1,"a":[2]})"), Json(R"("{\"b\":1,\"a\":[2]}")")}) {
    EXPECT_EQ(read(given).text, R"({"b":1,"a":[2]})") << given;
    EXPECT_FALSE(read(given).warned) << given;
  }
}

TEST(CallArguments, NothingIsAnEmptyObject) {
  for (const Json& given : {Json(), Json(""), Json(" \n"), Json("null")}) {
    EXPECT_EQ(read(given).text, "{}") << given;
    EXPECT_FALSE(read(given).warned) << given;
  }
}

TEST(CallArguments, AnythingElseIsKeptInOne) {
  for (const auto& [given, text] : {std::pair<Json, const char*>{R"({"city":"Tok)", R"({"input":"{\"city\":\"Tok"})"},
                                    {"not json", R"({"input":"not json"})"},
                                    {R"(["a"])", R"({"input":["a"]})"},
                                    {Json::array({"a"}), R"({"input":["a"]})"},
                                    {7, R"({"input":7})"},
                                    {true, R"({"input":true})"},
                                    {R"("text")", R"({"input":"text"})"}}) {
    EXPECT_EQ(read(given).text, text);
    EXPECT_TRUE(read(given).warned) << given;
  }
}

TEST(CallArguments, BoundsHold) {
  EXPECT_EQ(read(std::string(100'000, '[')).text, "tool call arguments: json: exceeded max depth of 512");
}

}  // namespace
}  // namespace drover::api
