#include "schema/schema_rewrite.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>

#include "schema/enum_rule.h"
#include "schema/pattern.h"

namespace drover::schema {
namespace {

struct Outcome {
  Json schema;
  std::vector<std::string> warnings;
  std::string error;
};

Outcome rewrite(const Json& schema, bool strict = false) {
  SchemaRewriter rewriter;
  auto result = rewriter.rewrite(schema, "format", strict);
  if (!result) return {{}, {}, result.error().message};
  return {*result, rewriter.warnings(), {}};
}

// What becomes of it, where nothing is lost.
std::string kept(const std::string& text) {
  const Outcome outcome = rewrite(Json::parse(text), true);
  EXPECT_EQ(outcome.error, "") << text;
  return outcome.schema.dump();
}

TEST(SchemaRewrite, References) {
  const std::string closed = R"("additionalProperties":false)";
  const std::string node = R"({"type":"object","properties":{"next":{"$ref":"#/$defs/root"}},)" + closed;
  EXPECT_EQ(kept(R"({"type":"object","properties":{"next":{"$ref":"#"}}})"),
            node + R"(,"$defs":{"root":)" + node + "}}}");
  EXPECT_EQ(kept(R"({"$ref":"#/definitions/n","definitions":{"n":{"type":"null"}}})"), R"({"type":"null"})");
  EXPECT_EQ(kept(R"({"items":{"$ref":"#/$defs/a"},"$defs":{"a":{"type":"string"}}})"),
            R"({"type":"array","items":{"$ref":"#/$defs/a"},"$defs":{"a":{"type":"string"}}})");
  EXPECT_EQ(kept(R"({"$id":"https://example.com/s","items":{"$ref":"https://example.com/s#/$defs/a"},
                     "$defs":{"a":{"type":"string"}}})"),
            R"({"type":"array","items":{"$ref":"#/$defs/a"},"$defs":{"a":{"type":"string"}}})");
  EXPECT_EQ(kept(R"({"items":{"$ref":"#/$defs/a","description":"one"},"$defs":{"a":{"type":"null"}}})"),
            R"({"type":"array","items":{"$ref":"#/$defs/a"},"$defs":{"a":{"type":"null"}}})");
  EXPECT_EQ(rewrite({{"$ref", "#/nowhere"}}).error, "#: cannot resolve $ref #/nowhere");
  EXPECT_EQ(rewrite({{"items", {{"$ref", "other.json"}}}}).error, "#/items: cannot resolve $ref other.json");
  EXPECT_NE(rewrite({{"$ref", "#"}}).error.find("without an end"), std::string::npos);
}

TEST(SchemaRewrite, PartsAreMerged) {
  EXPECT_EQ(kept(R"({"allOf":[{"type":"string","minLength":1},{"maxLength":5},{"minLength":2}]})"),
            R"({"type":"string","minLength":2,"maxLength":5})");
  EXPECT_EQ(kept(R"({"type":"object","properties":{"a":{"type":"null"}},"oneOf":[{"required":["a"]}]})"),
            R"({"type":"object","properties":{"a":{"type":"null"}},"required":["a"],"additionalProperties":false})");
  EXPECT_EQ(kept(R"({"type":["number","string"],"allOf":[{"type":["integer","null"]}]})"), R"({"type":"integer"})");
  EXPECT_EQ(kept(R"({"allOf":[{"enum":["a","b"]},{"enum":["b","c"]}]})"), R"({"enum":["b"]})");
  EXPECT_EQ(kept(R"({"anyOf":[{"type":"string"},false,{"type":"string"}]})"), R"({"type":"string"})");
}

TEST(SchemaRewrite, WhatNothingSatisfiesIsRefused) {
  for (const char* text : {
           R"(false)",
           R"({"allOf":[{"type":"string"},{"type":"integer"}]})",
           R"({"type":"integer","enum":["a"]})",
           R"({"type":"string","pattern":"^a{5}$","maxLength":3})",
           R"({"type":"integer","minimum":1.2,"maximum":1.8})",
           R"({"type":"object","properties":{"a":false},"required":["a"]})",
           R"({"type":"object","minProperties":3,"maxProperties":2})",
           R"({"type":"object","required":["a","b"],"maxProperties":1})",
           R"({"type":"object","properties":{"a":{}},"minProperties":2})",
           // Each part can be satisfied, and they cannot be together.
           R"({"allOf":[{"type":"string","minLength":5},{"maxLength":2}]})",
           R"({"allOf":[{"type":"array","minItems":5},{"maxItems":2}]})",
           R"({"allOf":[{"type":"object","minProperties":5},{"maxProperties":2}]})",
           R"({"allOf":[{"type":"integer","minimum":5},{"exclusiveMaximum":5}]})",
           R"({"$ref":"#/$defs/a","maxLength":2,"$defs":{"a":{"type":"string","minLength":5}}})",
           R"({"type":"number","exclusiveMinimum":5,"exclusiveMaximum":5})",
       }) {
    EXPECT_EQ(rewrite(Json::parse(text)).error, "#: no value is valid here") << text;
  }
}

Json numbered(int count, const std::function<Json(int)>& make) {
  Json list = Json::array();
  for (int i = 0; i < count; ++i) list.push_back(make(i));
  return list;
}

TEST(SchemaRewrite, LongListsOfConstants) {
  EXPECT_EQ(enum_rule(Json::parse(R"(["ab","abc","b","b",1,12,null,"é\\","è"])"), "r"),
            R"(r ::= ("\"" ("ab" ("\"" | "c\"") | "b\"" | "è\"" | "é\\\\\"") | "1" ("2")? | "null"))"
            "\n");
  EXPECT_EQ(enum_rule(Json::parse(R"(["a"])"), "r"), "r ::= \"\\\"a\\\"\"\n");
  const auto name = [](int i) { return Json(fmt::format("value {}", i)); };
  const auto becomes_rule = [&](const Json& schema) {
    SchemaRewriter rewriter;
    const auto result = rewriter.rewrite(schema, "format", true);
    EXPECT_TRUE(result.ok()) << result.error().message;
    return rewriter.has_rules();
  };
  EXPECT_FALSE(becomes_rule({{"enum", numbered(100, name)}}));
  EXPECT_TRUE(becomes_rule({{"enum", numbered(101, name)}}));
  // The same, as some tools write it, in OpenAPI's way for instance.
  const Json constants = numbered(300, [&](int i) { return Json{{"const", name(i)}, {"title", "one"}}; });
  EXPECT_TRUE(becomes_rule({{"oneOf", constants}}));
  EXPECT_TRUE(becomes_rule({{"anyOf", constants}}));
  const Outcome several = rewrite({{"oneOf", numbered(300, [](int) { return Json{{"type", "string"}}; })}});
  EXPECT_EQ(several.warnings, std::vector<std::string>{
                                  "format: #: oneOf is not kept (it is read as anyOf: it has too many alternatives)"});
  const Json far = numbered(1001, [](int i) {
    const int code = 0x4E00 + i;
    return Json(std::string{static_cast<char>(0xE0 | (code >> 12)), static_cast<char>(0x80 | ((code >> 6) & 0x3F)),
                            static_cast<char>(0x80 | (code & 0x3F))});
  });
  EXPECT_EQ(rewrite({{"enum", far}}).error, "#: enum has more than 1000 values that differ in one place");
}

TEST(SchemaRewrite, WhatIsNotKeptIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"type":"string","pattern":"^(?=a)b$"})", R"(#: pattern "^(?=a)b$" is not kept (lookahead))"},
      {R"({"type":"string","pattern":"^\\p{L}+$"})", R"(#: pattern "^\p{L}+$" is not kept (\p{...}))"},
      {R"({"type":"string","pattern":"^(a)\\1$"})", R"(#: pattern "^(a)\1$" is not kept (a reference to a group))"},
      {R"({"type":"string","format":"idn-email"})", R"(#: format is not kept ("idn-email" is not known))"},
      {R"({"type":"string","format":"date","pattern":"^a$"})", "#: format is not kept (beside pattern)"},
      {R"({"type":"string","pattern":"^a*b*$","maxLength":5})",
       "#: minLength or maxLength is not kept (beside this pattern)"},
      {R"({"type":"string","maxLength":3000})", "#: maxLength is not kept (more than 2000)"},
      {R"({"type":"array","items":{"type":"integer"},"maxItems":2000})", "#: maxItems is not kept (more than 1990)"},
      {R"({"properties":{"x":{"type":"array","uniqueItems":true}}})", "#/properties/x: uniqueItems is not kept"},
      {R"({"type":"array","contains":{"type":"null"}})", "#: contains is not kept"},
      {R"({"type":"number","multipleOf":0.3})", "#: multipleOf is not kept"},
      {R"({"type":"object","minProperties":1})", "#: minProperties is not kept"},
      {R"({"type":"object","patternProperties":{"^x":{"type":"null"}}})",
       "#: patternProperties is not kept (names may be any)"},
      {R"({"type":"object","dependentRequired":{"a":["b"]}})", "#: dependentRequired is not kept"},
      {R"({"type":"string","not":{"const":"a"}})", "#: not is not kept"},
      {R"({"type":"object","if":{"required":["a"]},"then":{"required":["b"]}})", "#: if is not kept"},
      {R"({"oneOf":[{"type":"number"},{"type":"integer"}]})",
       "#: oneOf is not kept (it is read as anyOf: a value may satisfy several)"},
      {R"({"type":"object","required":true})", "#: required is not kept (it is no list)"},
  };
  for (const auto& [text, warning] : cases) {
    const Outcome outcome = rewrite(Json::parse(text));
    EXPECT_EQ(outcome.error, "") << text;
    ASSERT_FALSE(outcome.warnings.empty()) << text;
    EXPECT_EQ(outcome.warnings.front(), std::string("format: ") + warning);
    const std::string error = rewrite(Json::parse(text), true).error;
    EXPECT_NE(error.find(" cannot be kept, which strict asks for"), std::string::npos) << error;
    EXPECT_EQ(error.substr(0, error.find(": ")), std::string(warning).substr(0, std::string(warning).find(": ")));
  }
}

TEST(SchemaRewrite, WhatIsKeptNeedsNoWarning) {
  for (const char* text : {
           R"({"title":"T","description":"d","$schema":"s","default":1,"examples":[1],"type":"integer","x-order":1})",
           R"({"oneOf":[{"type":"string"},{"type":"null"}]})",
           R"({"oneOf":[{"type":"object","properties":{"k":{"const":"a"}},"required":["k"]},
                        {"type":"object","properties":{"k":{"const":"b"}},"required":["k"]}]})",
           R"({"type":"array","uniqueItems":true,"maxItems":1})",
           R"({"type":"array","uniqueItems":false})",
           R"({"type":"object","properties":{"a":{}},"required":["a"],"minProperties":1,"maxProperties":1})",
           R"({"type":"object","propertyNames":{"type":"string"},"additionalProperties":{"type":"number"}})",
           R"({"type":"object","patternProperties":{"^.*$":{"type":"number"}}})",
           R"({"type":"object","properties":{"a":{},"b":{}},"required":["a"],"dependentRequired":{"a":["b"]}})",
           R"({"type":"number","format":"double","minimum":0,"exclusiveMaximum":1})",
           R"({"type":"string","pattern":"^[a-z]+$","minLength":1,"maxLength":64})",
           R"({"then":{},"type":"null"})",
       }) {
    EXPECT_EQ(rewrite(Json::parse(text), true).error, "") << text;
  }
}

TEST(SchemaRewrite, NoSchemaAtAll) {
  EXPECT_EQ(rewrite({{"type", "thing"}}).error, "#: unrecognized type thing");
  EXPECT_EQ(rewrite({{"items", 5}}).error, "#/items: schema must be an object");
  EXPECT_EQ(rewrite({{"anyOf", Json::array()}}).error, "#: anyOf must be a list of schemas that is not empty");
  EXPECT_EQ(rewrite({{"type", "string"}, {"pattern", "^(a$"}}).error,
            "#: invalid pattern \"^(a$\": unbalanced parentheses");
}

TEST(SchemaRewrite, ToolsHaveNamesOfTheirOwn) {
  const auto tool = [](const Json& parameters, bool strict) {
    return Json{{"type", "function"}, {"function", {{"name", "f"}, {"strict", strict}, {"parameters", parameters}}}};
  };
  const auto item = [](const char* type) {
    return Json{{"type", "object"},
                {"properties", {{"a", {{"$ref", "#/$defs/Item"}}}}},
                {"$defs", {{"Item", {{"type", type}}}}}};
  };
  SchemaRewriter rewriter;
  const auto tools = rewriter.rewrite_tools({tool(item("string"), true), tool(item("null"), true)});
  ASSERT_TRUE(tools.ok());
  const auto reference = [&](std::size_t i) {
    return (*tools)[i]["function"]["parameters"]["properties"]["a"]["$ref"].get<std::string>();
  };
  EXPECT_EQ(reference(0), "#/$defs/Item");
  EXPECT_NE(reference(1), reference(0));
  const Json odd{{"type", "thing"}};
  EXPECT_EQ(SchemaRewriter().rewrite_tools(Json::array({tool(odd, true)})).error().message,
            "tools[0].function.parameters: #: unrecognized type thing");
  SchemaRewriter others;
  const auto spared = others.rewrite_tools({tool(odd, false), tool(item("string"), false)});
  ASSERT_TRUE(spared.ok());
  EXPECT_EQ((*spared)[0]["function"]["parameters"].dump(), R"({"type":"object"})");
  EXPECT_EQ(
      others.warnings(),
      std::vector<std::string>{"tools[0].function.parameters: the schema is not kept (#: unrecognized type thing)"});
}

// Small to write, and endless if each part were written out.
TEST(SchemaRewrite, CostsAreBound) {
  Json wide = {{"$ref", "#/$defs/0"}, {"$defs", Json::object()}};
  for (int i = 0; i < 40; ++i) {
    const Json next = {{"$ref", fmt::format("#/$defs/{}", i + 1)}, {"minProperties", 0}};
    wide["$defs"][std::to_string(i)] = {{"type", "object"}, {"properties", {{"a", next}, {"b", next}}}};
  }
  wide["$defs"]["40"] = {{"type", "null"}};
  EXPECT_NE(rewrite(wide).error.find("too large"), std::string::npos);
  Json choices = {{"type", "string"}};
  for (int i = 0; i < 9; ++i) choices = {{"anyOf", Json::array({choices, choices})}, {"minLength", 1}};
  const Outcome outcome = rewrite(choices);
  EXPECT_TRUE(outcome.error.empty() || outcome.error.find("too large") != std::string::npos) << outcome.error;
  std::string pattern = "a";
  for (int i = 0; i < 90; ++i) pattern = "(" + pattern + "?b?)*";
  const PatternRules rules = pattern_rules(pattern, {}, "r");
  EXPECT_LT(rules.text.size(), 100'000u);
  std::string anchors(4096, '^');
  EXPECT_EQ(pattern_rules(anchors, {}, "r").problem, "");
}

}  // namespace
}  // namespace drover::schema
