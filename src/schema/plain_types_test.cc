#include "schema/plain_types.h"

#include <gtest/gtest.h>

#include <string>

namespace drover::schema {
namespace {

Json tools_with(const Json& property) {
  const Json parameters = {{"type", "object"},
                           {"properties", {{"p", property}}},
                           {"$defs", {{"day", {{"type", "integer"}}}, {"self", {{"$ref", "#/$defs/self"}}}}}};
  return Json::array({{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", parameters}}}}});
}

// What becomes of a property; "" if it stays.
std::string typed(const char* property) {
  const auto tools = plainly_typed(tools_with(Json::parse(property)));
  if (!tools) return "";
  EXPECT_FALSE(plainly_typed(*tools).has_value()) << "once is enough: " << property;
  return (*tools)[0]["function"]["parameters"]["properties"]["p"].dump();
}

TEST(PlainTypes, EachParameterHasATypeThatIsOneWord) {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"type":"string"})", ""},
      {R"({"type":["null","integer"],"minimum":1})", R"({"type":"integer","minimum":1})"},
      {R"({"anyOf":[{"type":"null"},{"type":"number"}]})",
       R"({"anyOf":[{"type":"null"},{"type":"number"}],"type":"number"})"},
      {R"({"anyOf":[{"$ref":"#/$defs/day"},{"type":"null"}]})",
       R"({"anyOf":[{"$ref":"#/$defs/day"},{"type":"null"}],"type":"integer"})"},
      {R"({"$ref":"#/$defs/day"})", R"({"$ref":"#/$defs/day","type":"integer"})"},
      {R"({"$ref":"#/$defs/self"})", R"({"$ref":"#/$defs/self","type":"string"})"},
      {R"({"$ref":"#/$defs/gone"})", R"({"$ref":"#/$defs/gone","type":"object"})"},
      {R"({"$ref":"#"})", R"({"$ref":"#","type":"object"})"},
      {R"({"enum":[null,"a"]})", R"({"enum":[null,"a"],"type":"string"})"},
      {R"({"const":1.5})", R"({"const":1.5,"type":"number"})"},
      {R"({"const":null})", R"({"const":null,"type":"null"})"},
      {R"({"properties":{}})", R"({"properties":{},"type":"object"})"},
      {R"({})", R"({"type":"string"})"},
      {"true", R"({"type":"string"})"},
      {"false", ""},
  };
  for (const auto& [property, expected] : rows) EXPECT_EQ(typed(property), expected) << property;
}

TEST(PlainTypes, ListsHaveItemsAndDescriptionsAreTexts) {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"type":"array"})", R"({"type":"array","items":{"type":"string"}})"},
      {R"({"type":"array","items":{}})", R"({"type":"array","items":{"type":"string"}})"},
      {R"({"type":"array","items":{"type":"array"}})",
       R"({"type":"array","items":{"type":"array","items":{"type":"string"}}})"},
      {R"({"type":"array","items":[{"type":"string"},{}]})", ""},
      {R"({"type":"array","items":false})", ""},
      {R"({"type":"string","description":null})", R"({"type":"string"})"},
      {R"({"type":"object","properties":{"q":{"type":["string","null"],"description":"d"}}})",
       R"({"type":"object","properties":{"q":{"type":"string","description":"d"}}})"},
  };
  for (const auto& [property, expected] : rows) EXPECT_EQ(typed(property), expected) << property;
}

TEST(PlainTypes, WhatIsNoToolStays) {
  for (const char* tools : {"[]", "[5]", R"([{"function":5}])", R"([{"function":{"name":"f"}}])",
                            R"([{"function":{"name":"f","parameters":null}}])"}) {
    EXPECT_FALSE(plainly_typed(Json::parse(tools)).has_value()) << tools;
  }
}

TEST(PlainTypes, StandBesideWhatTheRewritingMakes) {
  const Json sent = Json::parse(R"({"properties":{"a":{"type":"string","enum":["x"]},"b":{"enum":["x"]},
      "c":{"type":["string","null"]},"d":{"type":"integer"},"e":{"type":"string"}}})");
  Json kept = Json::parse(R"({"properties":{"a":{"enum":["x"]},"b":{"enum":["x"]},"c":{"anyOf":[{}]},
      "d":{"type":"integer"},"e":{},"f":{"$ref":"#/$defs/f"}}})");
  keep_types(sent, kept);
  EXPECT_EQ(kept.dump(), R"({"properties":{"a":{"enum":["x"],"type":"string"},"b":{"enum":["x"]},"c":{"anyOf":[{}]},)"
                         R"("d":{"type":"integer"},"e":{},"f":{"$ref":"#/$defs/f"}}})");
  Json none = Json::object();
  keep_types(sent, none);
  keep_types(none, kept);
  EXPECT_EQ(none, Json::object());
}

TEST(PlainTypes, ReferencesWithoutAnEndAreLeft) {
  Json branches = Json::array();
  for (int i = 0; i < 50; ++i) branches.push_back({{"$ref", "#/properties/p"}});
  EXPECT_TRUE(plainly_typed(tools_with({{"anyOf", branches}})).has_value());
}

}  // namespace
}  // namespace drover::schema
