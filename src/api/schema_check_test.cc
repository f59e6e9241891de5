#include "api/schema_check.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>

namespace drover::api {
namespace {

std::string error_of(const Json& schema) {
  SchemaBudget budget;
  const auto checked = check_schema(schema, budget);
  return checked ? "" : checked.error().message;
}

std::string error_of(const char* text) {
  return error_of(Json::parse(text));
}

Json properties(int count, const Json& each, bool required = true) {
  Json schema = {{"type", "object"}, {"properties", Json::object()}, {"required", Json::array()}};
  for (int i = 0; i < count; ++i) {
    schema["properties"][fmt::format("p{}", i)] = each;
    if (required) schema["required"].push_back(fmt::format("p{}", i));
  }
  return schema;
}

Json nested(int depth, const std::function<Json(Json)>& around) {
  Json schema = {{"type", "integer"}};
  for (int i = 0; i < depth; ++i) schema = around(std::move(schema));
  return schema;
}

Json in_items(Json schema) {
  return {{"type", "array"}, {"items", std::move(schema)}};
}

TEST(SchemaCheck, HonestSchemasPass) {
  for (
      const char* text : {
          "{}",
          R"({"type":"string","minLength":2,"maxLength":2})",
          R"({"type":"array","items":{"type":"string"},"minItems":1,"maxItems":1000})",
          R"({"type":"string","maxLength":1000000})",
          R"({"type":"integer","minimum":-9007199254740991,"maximum":9007199254740991})",
          R"({"type":"integer","minimum":0,"maximum":9223372036854775807})",
          R"({"type":"number","minimum":-1.7976931348623157e308,"maximum":1.7976931348623157e308})",
          R"({"type":"string","pattern":"^\\d{4}-\\d{2}-\\d{2}$"})",
          R"({"type":"string","pattern":"^[{}5,2]{2,5}x{3}y{4,}z{,5}\\{5,2\\}$"})",
          R"({"type":["string","null"],"enum":["a","b",null]})",
          R"({"properties":{"a":{"$ref":"#/$defs/n"}},"$defs":{"n":{"properties":{"next":{"$ref":"#/$defs/n"}}}}})",
          R"({"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}],"$defs":{"a":{"properties":{"x":{"type":"null"}}}}})",
          R"({"$ref":"#/nowhere"})",
          R"({"type":"no such type"})",
          R"({"anyOf":5,"items":"x","minLength":"y"})",
      }) {
    EXPECT_EQ(error_of(text), "") << text;
  }
  EXPECT_EQ(error_of(properties(1000, {{"type", "string"}, {"description", "What it is for"}})), "");
  EXPECT_EQ(error_of(properties(200, {{"type", "integer"}}, false)), "");
  EXPECT_EQ(error_of(nested(64, in_items)), "");
}

TEST(SchemaCheck, ReversedBoundsAreNamedWithTheirPlace) {
  EXPECT_EQ(error_of(R"({"type":"string","minLength":5,"maxLength":2})"), "#: minLength 5 is greater than maxLength 2");
  EXPECT_EQ(error_of(R"({"type":"object","properties":{"x":{"type":"array","minItems":5,"maxItems":2}}})"),
            "#/properties/x: minItems 5 is greater than maxItems 2");
  EXPECT_EQ(error_of(R"({"items":{"anyOf":[{},{"type":"integer","minimum":5,"maximum":-2}]}})"),
            "#/items/anyOf/1: minimum 5 is greater than maximum -2");
  EXPECT_EQ(error_of(R"({"type":"object","minProperties":5,"maxProperties":2})"),
            "#: minProperties 5 is greater than maxProperties 2");
  EXPECT_EQ(error_of(R"({"type":"number","exclusiveMinimum":0.5,"maximum":0.25})"),
            "#: exclusiveMinimum 0.5 is greater than maximum 0.25");
  EXPECT_EQ(error_of(R"({"$ref":"#/$defs/a","$defs":{"a":{"type":"string","pattern":"^a{5,2}$"}}})"),
            "#/$defs/a: pattern has a repetition {5,2} whose minimum exceeds its maximum");
  for (const char* text : {
           R"({"minLength":5,"maxLength":2})",
           R"({"type":["null","string"],"minLength":5,"maxLength":2})",
           R"({"oneOf":[{"type":"array","minItems":2,"maxItems":0}]})",
           R"({"allOf":[{"properties":{"a":{"type":"string","minLength":1,"maxLength":0}}}]})",
           R"({"additionalProperties":{"type":"string","minLength":1,"maxLength":0}})",
           R"({"prefixItems":[{"type":"string","minLength":1,"maxLength":0}]})",
           R"({"type":"string","pattern":"^(a|[)]b){ 5, 2}$"})",
           R"({"type":"string","pattern":"^\\[a{5,2}\\]$"})",
       }) {
    EXPECT_NE(error_of(text), "") << text;
  }
}

TEST(SchemaCheck, AbsurdBounds) {
  EXPECT_EQ(error_of(R"({"type":"string","minLength":2001})"), "#: minLength 2001 is greater than 2000");
  EXPECT_EQ(error_of(R"({"type":"array","minItems":1001})"), "#: minItems 1001 is greater than 1000");
  EXPECT_EQ(error_of(R"({"type":"string","maxLength":4294967298})"), "#: maxLength must be between 0 and 2147483647");
  EXPECT_EQ(error_of(R"({"type":"string","minLength":-1})"), "#: minLength must be between 0 and 2147483647");
  EXPECT_EQ(error_of(R"({"type":"integer","maximum":1e300})"), "#: maximum 1e+300 is beyond the integers of 64 bits");
  EXPECT_EQ(error_of(R"({"type":"integer","maximum":18446744073709551615})"),
            "#: maximum 18446744073709551615 is beyond the integers of 64 bits");
  EXPECT_EQ(error_of(R"({"type":"string","pattern":"^a{99999999999999999999}$"})"),
            "#: pattern repeats more than 2000 times");
  EXPECT_EQ(error_of({{"type", "string"}, {"pattern", "^" + std::string(kPatternBytesMax, 'a') + "$"}}),
            "#: pattern is longer than 4096 bytes");
  EXPECT_EQ(error_of(properties(26, {{"type", "string"}, {"maxLength", 2000}})),
            "#/properties/p25: too large: more than 50000 repetitions in all");
}

TEST(SchemaCheck, Depth) {
  EXPECT_NE(error_of(nested(65, in_items)).find("schemas are nested more than 64 deep"), std::string::npos);
  for (const char* name : {"anyOf", "allOf", "prefixItems"}) {
    EXPECT_NE(error_of(nested(200, [&](Json schema) { return Json{{name, Json::array({schema})}}; })), "") << name;
  }
  EXPECT_NE(error_of(nested(200, [](Json schema) { return Json{{"properties", {{"p", schema}}}}; })), "");
  EXPECT_LT(error_of(nested(200,
                            [](Json schema) {
                              return Json{{"properties", {{std::string(900, 'p'), schema}}}};
                            }))
                .size(),
            400U);
}

TEST(SchemaCheck, ReferencesThatLeadDeepOrNowhere) {
  Json chain = {{"$ref", "#/$defs/0"}, {"$defs", Json::object()}};
  for (int i = 0; i < 300; ++i) {
    chain["$defs"][std::to_string(i)] = {{"type", "array"}, {"items", {{"$ref", fmt::format("#/$defs/{}", i + 1)}}}};
  }
  const std::string text = "references lead more than 256 schemas deep, or without an end";
  EXPECT_NE(error_of(chain).find(text), std::string::npos);
  // Older tools write a reference like this.
  const char* through_all_of =
      R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"next":{"allOf":[{"$ref":"#/$defs/n"}]}}}}})";
  EXPECT_NE(error_of(through_all_of).find(text), std::string::npos);
  const char* in_a_circle =
      R"({"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}})";
  EXPECT_NE(error_of(in_a_circle).find(text), std::string::npos);
  EXPECT_EQ(error_of({{"$ref", "#/" + std::string(2000, 'a')}}), "#: a $ref is longer than 1024 bytes");
}

TEST(SchemaCheck, Counts) {
  EXPECT_EQ(error_of(properties(201, {{"type", "integer"}}, false)),
            "#: more than 200 properties that are not required");
  EXPECT_EQ(error_of(properties(5, properties(200, {{"type", "integer"}}, false))), "");
  EXPECT_EQ(error_of(properties(6, properties(200, {{"type", "integer"}}, false))),
            "#/properties/p5: too large: too many objects with many properties that are not required");
  EXPECT_EQ(error_of(properties(1001, {{"type", "integer"}})), "#: more than 1000 properties");
  Json entries = Json::array();
  for (int i = 0; i <= 10'000; ++i) entries.push_back(fmt::format("entry {}", i));
  EXPECT_EQ(error_of({{"items", {{"enum", entries}}}}), "#/items: enum has more than 10000 entries");
  entries.erase(0);
  EXPECT_EQ(error_of({{"items", {{"enum", entries}}}}), "");
  EXPECT_EQ(error_of({{"const", std::string(1 << 20, 'x')}}), "#: too large: more than 1048576 bytes of values in all");
  EXPECT_EQ(error_of({{"properties", {{std::string(1025, 'n'), Json::object()}}}}),
            "#: the name of a property is longer than 1024 bytes");
}

TEST(SchemaCheck, ChoicesAtOnePlace) {
  const std::string text = "more than 1000 alternatives in one place";
  const Json of_600 = {{"anyOf", Json(std::vector<Json>(600, {{"type", "null"}}))}};
  EXPECT_EQ(error_of({{"type", "object"}, {"properties", {{"a", of_600}, {"b", of_600}}}}), "");
  EXPECT_EQ(error_of({{"anyOf", Json::array({of_600, of_600})}}), "#/anyOf/1/anyOf/400: " + text);
  const Json reference = {{"$ref", "#/$defs/e"}};
  EXPECT_EQ(error_of({{"anyOf", Json::array({reference, reference})}, {"$defs", {{"e", of_600}}}}),
            "#/anyOf/1: " + text);
  // Of a long list no more than a few characters may come next.
  Json entries = Json::array();
  for (int i = 0; i < 600; ++i) entries.push_back(fmt::format("entry {}", i));
  const Json list = {{"enum", entries}};
  EXPECT_EQ(error_of({{"anyOf", Json(std::vector<Json>(10, list))}}), "");
  EXPECT_EQ(error_of({{"anyOf", Json(std::vector<Json>(11, list))}}), "#/anyOf/10: " + text);
  EXPECT_NE(error_of({{"anyOf", Json(std::vector<Json>(6, properties(180, {{"type", "null"}}, false)))}}), "");
  EXPECT_EQ(error_of({{"anyOf", Json(std::vector<Json>(30, properties(20, {{"type", "null"}}, false)))}}), "");
  std::string branches = "^(a";
  for (int i = 0; i < 1001; ++i) branches += "|a";
  EXPECT_EQ(error_of({{"type", "string"}, {"pattern", branches + ")$"}}), "#: " + text);
  // Each property of an alternative is not required, whatever it says.
  const Json alternatives = {
      {"anyOf", Json::array({properties(150, {{"type", "null"}}), properties(150, {{"type", "null"}})})}};
  EXPECT_NE(error_of({{"allOf", Json::array({alternatives})}}).find("200 properties that are not required"),
            std::string::npos);
}

// Each level twice as wide as the one before: small to write, endless to build.
TEST(SchemaCheck, WhatTheEngineWouldVisitWithoutAnEndIsCounted) {
  Json wide = {{"$ref", "#/$defs/0"}, {"$defs", Json::object()}};
  for (int i = 0; i < 40; ++i) {
    const Json next = {{"allOf", Json::array({{{"$ref", fmt::format("#/$defs/{}", i + 1)}}})}};
    wide["$defs"][std::to_string(i)] = {{"type", "object"}, {"properties", {{"a", next}, {"b", next}}}};
  }
  wide["$defs"]["40"] = {{"type", "object"}, {"properties", {{"c", {{"type", "null"}}}}}};
  EXPECT_NE(error_of(wide).find("too large: more than 10000 schemas"), std::string::npos);
  const Json copies = nested(30, [](Json schema) {
    return Json{{"type", Json::array({"object", "string"})}, {"allOf", Json::array({schema})}};
  });
  EXPECT_NE(error_of(copies).find("too large"), std::string::npos);
  Json large = properties(150, properties(150, {{"type", "integer"}}));
  EXPECT_NE(error_of(large).find("too large"), std::string::npos);
  EXPECT_EQ(error_of({{"type", Json::array({"string", "string"})}}), "#: a type is repeated");
}

TEST(CheckTools, TheirSchemasShareWhatARequestMayCost) {
  const auto tools = [](int count, const Json& parameters) {
    Json list = Json::array();
    for (int i = 0; i < count; ++i) {
      list.push_back(
          {{"type", "function"}, {"function", {{"name", fmt::format("f{}", i)}, {"parameters", parameters}}}});
    }
    return list;
  };
  const auto error = [](const Json& list) {
    SchemaBudget budget;
    const auto checked = check_tools(list, budget);
    return checked ? "" : checked.error().message;
  };
  EXPECT_EQ(error(tools(300, properties(20, {{"type", "string"}, {"description", "What it is for"}}, false))), "");
  EXPECT_EQ(error(tools(2, Json::parse(R"({"properties":{"x":{"minLength":5,"maxLength":2}}})"))),
            "tools[0].function.parameters: #/properties/x: minLength 5 is greater than maxLength 2");
  EXPECT_NE(error(tools(500, properties(100, {{"type", "string"}}))).find("too large"), std::string::npos);
  EXPECT_EQ(error(tools(1025, Json::object())), "more than 1024 tools");
  EXPECT_EQ(error(Json::parse("[{}, [[]]]")), "tools[1] must be an object");
  EXPECT_EQ(error(Json::parse(R"([{"function":{"name":5}},{"function":{"name":"f","parameters":[]}}])")), "");
  EXPECT_EQ(error({{{"function", {{"name", std::string(1025, 'f')}}}}}),
            "tools[0]: the name is longer than 1024 bytes");
}

TEST(CheckHanded, KeysAndValues) {
  SchemaBudget budget;
  Json keys = Json::object();
  for (int i = 0; i < 2048; ++i) keys[std::to_string(i)] = i;
  EXPECT_TRUE(check_handed({{"a", keys}}, budget).ok());
  keys["one more"] = 1;
  EXPECT_EQ(check_handed({{"a", keys}}, budget).error().message, "an object has more than 2048 keys");
  keys.erase("one more");
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(check_handed(keys, budget).ok());
  EXPECT_EQ(check_handed(keys, budget).error().message, "objects have more than 16777216 pairs of keys in all");
  budget = {};
  Json usual = Json::object();
  for (int i = 0; i < 30; ++i) usual[std::to_string(i)] = i;
  EXPECT_TRUE(check_handed(std::vector<Json>(8000, usual), budget).ok());
  budget = {};
  const Json numbers(std::vector<int>(200'000));
  EXPECT_TRUE(check_handed(numbers, budget).ok());
  EXPECT_EQ(check_handed(numbers, budget).error().message, "more than 262144 values in all");
}

}  // namespace
}  // namespace drover::api
