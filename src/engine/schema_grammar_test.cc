// Schemas as grammars, asked which texts they take.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <llama.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <regex>
#include <sstream>

#include "engine/chat_template.h"
#include "engine/cria_fixture.h"
#include "engine/grammar_cache.h"
#include "schema/schema_rewrite.h"

namespace drover {
namespace {

// Whether llama.cpp's grammar takes a text as a whole.
class Matcher {
 public:
  explicit Matcher(const Json& schema) {
    pb::Format format;
    format.set_kind(pb::Format::JSON_SCHEMA);
    format.set_schema_json(schema.dump());
    const auto grammar = grammar_for(format);
    EXPECT_TRUE(grammar.ok()) << schema.dump() << ": " << (grammar ? "" : grammar.error().message);
    if (!grammar) return;
    grammar_ = *grammar;
    GrammarCache grammars(cria());
    auto sampler = grammars.sampler(*grammar, {});
    EXPECT_TRUE(sampler.ok()) << schema.dump() << ": " << *grammar;
    if (sampler) original_ = std::move(*sampler);
  }

  bool takes(const std::string& text) const {
    if (original_ == nullptr) return false;
    const SamplerPointer sampler(llama_sampler_clone(original_.get()));
    const auto allows = [&](Token token) {
      llama_token_data single = {token, 1.0f, 0.0f};
      llama_token_data_array one = {&single, 1, -1, false};
      llama_sampler_apply(sampler.get(), &one);
      return single.logit != -INFINITY;
    };
    for (const Token token : cria().tokenize(text, false)) {
      if (!allows(token)) return false;
      llama_sampler_accept(sampler.get(), token);
    }
    return allows(llama_vocab_eos(cria().vocabulary()));
  }
  bool takes(const Json& value) const { return takes(value.dump()); }

  const std::string& grammar() const { return grammar_; }

 private:
  std::string grammar_;
  SamplerPointer original_;
};

const std::vector<std::string>& texts() {
  static const std::vector<std::string> all{
      "",       "a",    "b",      "A",       "0",    "7",       "_",        "-",      " ",     "ab",
      "abc",    "Ab1",  "a b",    "a-b",     "a_b",  "a.b",     "a/b",      "a\\b",   "a\"b",  "\"",
      "\\",     "a\nb", "\n",     "\t",      "aa",   "aaa",     "aaaa",     "12",     "123",   "2024-01-31",
      "12-3",   "foo",  "foobar", "a foo b", "xfoo", "foo x",   "FOO",      "imap:a", "x1y2z", "a{2}",
      "a!",     "!",    "ab!",    "a@b.co",  "é",    "aé",      "日本",     "a1",     "1a",    "abab",
      "ababab", "cat",  "dog",    "catdog",  "cats", "the cat", "the-cat ", "a,b,c",  "a,,b",  "[x]",
      "]",      "^",    "$",      "(a)",     "x\ty", "a\r\nb",  "aXb",      "aab",    "bbb",   "b1",
      "1.5",    "-1.5", "1e5",    "#ff0000", "#FFF", "a+b",     "a*b",      "a?b",    "a|b",   "user_1",
  };
  return all;
}

// std::regex reads ECMAScript; where it knows less, the second pattern says the same in its words.
struct Case {
  std::string pattern;
  std::string other = {};
};

// UTF-8 of up to three bytes a character, as std::wregex takes it.
std::wstring wide(const std::string& text) {
  std::wstring result;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = byte < 0x80 ? 1 : byte < 0xE0 ? 2 : 3;
    unsigned code = length == 1 ? byte : byte & (0x7Fu >> length);
    for (std::size_t k = 1; k < length; ++k) code = (code << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3Fu);
    result += static_cast<wchar_t>(code);
    i += length;
  }
  return result;
}

void expect_same(const Case& one) {
  const Matcher matcher({{"type", "string"}, {"pattern", one.pattern}});
  const std::wregex regex(wide(one.other.empty() ? one.pattern : one.other));
  for (const std::string& text : texts()) {
    EXPECT_EQ(matcher.takes(Json(text)), std::regex_search(wide(text), regex))
        << one.pattern << " on " << Json(text).dump() << "\n"
        << matcher.grammar();
  }
}

TEST(SchemaGrammar, PatternsTakeWhatTheyMatch) {
  for (const Case& one : std::vector<Case>{
           {"^\\d{4}-\\d{2}-\\d{2}$"},
           {"^\\d+$"},
           {"^[\\w-]{1,8}$"},
           {"^[^\\s]{1,8}$", "^[^\\s]{1,8}$"},
           {"^(\\d+|imap:.*)$"},
           {"^a\\/b$"},
           {"^[a-z]+\\!$"},
           {"^\\W$"},
           {"^\\S+$"},
           {"^\\D*$"},
           {"foo"},
           {"^foo"},
           {"foo$"},
           {"^cat|dog$"},
           {"^(cat|dog)$"},
           {"^(?:ab)+$"},
           {"^(ab)*$"},
           {"^a{2,3}$"},
           {"^a{2,}$"},
           {"^a{0}$"},
           {"^a*?b+?$"},
           {"^(a*)*$"},
           {"^(a|b*)+$"},
           {"^(a?b?)*$"},
           {"\\bfoo\\b"},
           {"^\\bcat"},
           {"^[\\x41-\\x5A]"},
           {"^[\\u0041-\\u005A]+$"},
           {"^\\u{61}+$", "^a+$"},
           {"^[^a-z]$"},
           {"^[\\]\\[x]+$"},
           {"^[-a]+$"},
           {"^[a-]+$"},
           {"^\"$"},
           {"^\\\\$"},
           {"^a\\tb|x\\ty$"},
           {"^.$"},
           {"^.*$"},
           {""},
           {"^$"},
           {"^\\^$"},
           {"^a\\{2\\}$"},
           {"^a{$", "^a\\{$"},
           {"^(a|)b$"},
           {"^(?<name>a)b$", "^(a)b$"},
           {"^-?\\d+(\\.\\d+)?$"},
           {"^#([0-9a-fA-F]{3}){1,2}$"},
           {"(^|,)b(,|$)"},
           {"^[a-z]+(,[a-z]+)*$"},
           {"^[\\s\\S]*$"},
           {"^[^\"\\\\]*$"},
       }) {
    expect_same(one);
  }
}

// Patterns made up from a seed, of the parts that std::regex knows as well.
TEST(SchemaGrammar, AnyPatternTakesWhatItMatches) {
  std::mt19937 random(7);
  const auto below = [&](int count) { return static_cast<int>(random() % static_cast<unsigned>(count)); };
  std::function<std::string(int)> make = [&](int depth) -> std::string {
    static const std::vector<std::string> atoms{"a",   "b",      "1",   "\\d", "\\w",    "\\s", "[a-c]", "[^a]",
                                                "\\.", "[\\d-]", "\\W", ".",   "[^\\w]", "\\S", "-",     "\\/"};
    std::string text;
    for (int parts = 1 + below(3); parts > 0; --parts) {
      if (depth > 0 && below(3) == 0) {
        text += (below(2) == 0 ? "(" : "(?:") + make(depth - 1) + (below(2) == 0 ? "|" + make(depth - 1) : "") + ")";
      } else {
        text += atoms[static_cast<std::size_t>(below(static_cast<int>(atoms.size())))];
      }
      static const std::vector<std::string> often{"", "", "", "*", "+", "?", "{2}", "{1,2}", "{1,}", "+?"};
      text += often[static_cast<std::size_t>(below(static_cast<int>(often.size())))];
    }
    return text;
  };
  for (int i = 0; i < 150; ++i) {
    const std::string pattern = (below(2) == 0 ? "^" : "") + make(2) + (below(2) == 0 ? "$" : "");
    expect_same({pattern});
  }
}

TEST(SchemaGrammar, LengthsBesideAPattern) {
  const Matcher matcher({{"type", "string"}, {"pattern", "^[a-z][a-z0-9_]*$"}, {"minLength", 2}, {"maxLength", 3}});
  for (const std::string& text : texts()) {
    static const std::regex regex("^[a-z][a-z0-9_]{1,2}$");
    EXPECT_EQ(matcher.takes(Json(text)), std::regex_search(text, regex)) << text;
  }
}

TEST(SchemaGrammar, NumbersAreWithinTheirBounds) {
  std::mt19937 random(11);
  const auto below = [&](int count) { return static_cast<int>(random() % static_cast<unsigned>(count)); };
  const auto some = [&]() {
    const int kind = below(3);
    const double number = kind == 0 ? below(10) : kind == 1 ? below(2000) / 10.0 : below(100'000) / 1000.0;
    return below(3) == 0 ? -number : number;
  };
  for (int i = 0; i < 200; ++i) {
    Json schema{{"type", below(2) == 0 ? "integer" : "number"}};
    double low = some();
    double high = some();
    if (low > high) std::swap(low, high);
    const bool from = below(4) != 0;
    const bool to = below(4) != 0;
    const bool low_open = below(3) == 0;
    const bool high_open = below(3) == 0;
    if (from) schema[low_open ? "exclusiveMinimum" : "minimum"] = low;
    if (to) schema[high_open ? "exclusiveMaximum" : "maximum"] = high;
    const bool integer = schema["type"] == "integer";
    const bool none = from && to && (integer ? std::ceil(low) + 2 > high : low == high);
    if (none || (!from && !to)) continue;
    const Matcher matcher(schema);
    for (int k = 0; k < 60; ++k) {
      double number = k % 4 == 0 ? low : k % 4 == 1 ? high : some();
      if (k % 5 == 0) number += (below(3) - 1) * (integer ? 1 : 0.001);
      if (integer) number = std::round(number);
      number = std::round(number * 1e4) / 1e4;
      if (number == 0) number = 0;
      const bool above = !from || (low_open ? number > low : number >= low);
      const bool under = !to || (high_open ? number < high : number <= high);
      EXPECT_EQ(matcher.takes(fmt::format("{}", number)), above && under) << schema.dump() << " on " << number << "\n"
                                                                          << matcher.grammar();
    }
  }
}

struct Samples {
  const char* schema;
  std::vector<const char*> good;
  std::vector<const char*> bad;
};

TEST(SchemaGrammar, Samples) {
  for (
      const Samples& one : std::vector<Samples>{
          {R"({"type":"object","properties":{"label":{"type":"string"},"children":{"type":"array","items":{"$ref":"#"}}},
               "required":["label","children"],"additionalProperties":false})",
           {R"({"label":"a","children":[]})", R"({"label":"a","children":[{"label":"b","children":[]}]})"},
           {R"({"label":"a","children":[{"label":"b"}]})", R"({"label":"a","children":[1]})"}},
          {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"$ref":"#/properties/a"}},"required":["a","b"]})",
           {R"({"a":1,"b":2})"},
           {R"({"a":1,"b":"2"})"}},
          {R"({"$ref":"#/$defs/a~1b","$defs":{"a/b":{"type":"integer"}}})", {"5"}, {"\"5\""}},
          {R"({"$ref":"#item","$defs":{"x":{"$anchor":"item","type":"integer"}}})", {"5"}, {"\"5\""}},
          {R"({"$ref":"#/$defs/s","maxLength":2,"$defs":{"s":{"type":"string"}}})", {"\"ab\""}, {"\"abc\"", "1"}},
          {R"({"allOf":[{"type":"string"},{"minLength":2}]})", {"\"ab\""}, {"\"a\"", "{}"}},
          {R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"integer"}}}]})",
           {R"({"a":1})", R"({"a":1,"b":2})"},
           {R"({"b":2})", "{}"}},
          {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},
               "anyOf":[{"required":["a"]},{"required":["b"]}]})",
           {R"({"a":1})", R"({"b":1})", R"({"a":1,"b":1})"},
           {"{}", "1"}},
          {R"({"type":["string","null"],"enum":["a",1,null]})", {"\"a\"", "null"}, {"1"}},
          {R"({"type":"string","nullable":true})", {"\"a\"", "null"}, {"1"}},
          {R"({"type":"object","required":["a"]})", {R"({"a":1})"}, {"{}", R"({"b":1})"}},
          {R"({"prefixItems":[{"type":"integer"},{"type":"string"}],"items":false})",
           {R"([1,"a"])"},
           {"[1]", R"([1,"a",2])"}},
          {R"({"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"string"},"minItems":2})",
           {R"([1,"a"])"},
           {"[1]", "[1,2]"}},
          {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":2})",
           {"[1]", "[1,2]"},
           {"[]", "[1,2,3]"}},
          {R"({"type":"array","items":true,"maxItems":1})", {"[]", "[{}]"}, {"[1,2]"}},
          {R"({"type":"object","properties":{"a":true,"b":false}})", {R"({"a":1})"}, {R"({"b":1})"}},
          {R"({"type":"integer","multipleOf":7,"minimum":0,"maximum":30})", {"0", "7", "28"}, {"1", "35", "-7"}},
          {R"({"type":"integer","multipleOf":3})", {"0", "9", "12", "-3", "333"}, {"1", "10", "-4"}},
          {R"({"type":"number","multipleOf":0.01,"minimum":0})", {"0.5", "12.34", "3"}, {"1.234", "-1"}},
          {R"({"type":"integer","maximum":-5})", {"-5", "-10"}, {"-4", "0", "-012"}},
          {R"({"type":"integer","minimum":3,"exclusiveMinimum":true})", {"4"}, {"3"}},
          {R"({"type":"integer","format":"uint8"})", {"0", "255"}, {"256", "-1"}},
          {R"({"type":"string","format":"date"})",
           {"\"2024-02-29\"", "\"2023-12-31\""},
           {"\"2023-02-29\"", "\"2023-04-31\""}},
          {R"({"type":"string","format":"email"})", {"\"a.b@example.com\""}, {"\"a\"", "\"a@b\""}},
          {R"({"type":"string","format":"ipv4"})", {"\"127.0.0.1\""}, {"\"256.0.0.1\"", "\"1.2.3\""}},
          {R"({"type":"string","format":"ipv6"})",
           {"\"::1\"", "\"fe80::1:2\"", "\"1:2:3:4:5:6:7:8\""},
           {"\"1::2::3\"", "\"1:2\""}},
          {R"({"type":"string","format":"uri"})",
           {"\"https://example.com/a?b=c#d\"", "\"mailto:a@b.c\""},
           {"\"example\"", "\"http://\""}},
          {R"({"type":"string","format":"date-time"})",
           {"\"2024-01-01T00:00:00Z\"", "\"2024-01-01T10:00:00.5+01:00\""},
           {"\"2024-01-01\""}},
          {R"({"type":"string","format":"duration"})", {"\"P1DT2H\"", "\"PT5M\"", "\"P3W\""}, {"\"P\"", "\"1D\""}},
          {R"({"type":"object","propertyNames":{"enum":["a","b"]},"additionalProperties":{"type":"integer"}})",
           {"{}", R"({"a":1})", R"({"b":1})"},
           {R"({"c":1})", R"({"a":"x"})"}},
          {R"({"const":{"a":[1,"x",null]}})", {R"({"a":[1,"x",null]})"}, {"{}"}},
      }) {
    const Matcher matcher(Json::parse(one.schema));
    for (const char* text : one.good)
      EXPECT_TRUE(matcher.takes(std::string(text))) << one.schema << " on " << text << "\n" << matcher.grammar();
    for (const char* text : one.bad)
      EXPECT_FALSE(matcher.takes(std::string(text))) << one.schema << " on " << text << "\n" << matcher.grammar();
  }
}

pb::Chat asks_with(const Json& parameters) {
  pb::Chat chat;
  pb::Message& user = *chat.add_messages();
  user.set_role("user");
  user.set_content("Hello");
  chat.set_tools_json(
      Json::array({{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", parameters}}}}}).dump());
  return chat;
}

std::unique_ptr<ChatTemplate> template_of(const char* name) {
  std::ifstream file(std::filesystem::path(DROVER_TEMPLATES) / name);
  std::stringstream text;
  text << file.rdbuf();
  return std::move(*ChatTemplate::create(cria(), text.str()));
}

TEST(SchemaGrammar, CallsAreBoundAndThePromptHasTheSchemaAsItWasSent) {
  const Json parameters = Json::parse(
      R"({"type":"object","properties":{"day":{"type":"string","pattern":"^\\d{2}$"},
          "share":{"type":"number","minimum":0,"maximum":1},"next":{"$ref":"#"}},"required":["day"]})");
  for (const char* name : {"Qwen-Qwen2.5-7B-Instruct.jinja", "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja",
                           "mistralai-Mistral-Nemo-Instruct-2407.jinja", "Kimi-K2-Instruct.jinja"}) {
    const auto rendered = template_of(name)->render(asks_with(parameters), {});
    ASSERT_TRUE(rendered.ok()) << name << ": " << rendered.error().message;
    EXPECT_NE(rendered->text.find("d{2}$"), std::string::npos) << name;
    EXPECT_EQ(rendered->text.find("$defs"), std::string::npos) << name;
    EXPECT_NE(rendered->grammar.find("[0-9]{2}"), std::string::npos) << name << rendered->grammar;
    GrammarCache grammars(cria());
    EXPECT_TRUE(grammars.sampler(rendered->grammar, {}).ok()) << name << rendered->grammar;
  }
}

TEST(SchemaGrammar, CallsBesideAGoTemplate) {
  pb::Chat chat = asks_with(Json::parse(R"({"type":"object","properties":{"next":{"$ref":"#"},
      "day":{"$ref":"#/$defs/day"}},"required":["day"],"$defs":{"day":{"type":"string","pattern":"^\\d{2}$"}}})"));
  chat.set_go_template("{{ range .Messages }}{{ .Content }}{{ end }}{{ .Tools }}");
  chat.set_tool_required(true);
  const auto rendered = ChatTemplate::create(cria()).value()->render(chat, {});
  ASSERT_TRUE(rendered.ok()) << rendered.error().message;
  EXPECT_NE(rendered->grammar.find("[0-9]{2}"), std::string::npos) << rendered->grammar;
  GrammarCache grammars(cria());
  EXPECT_TRUE(grammars.sampler(rendered->grammar, {}).ok()) << rendered->grammar;
}

// Each is a fault of the engine's Jinja or of the template: nobody's request is wrong.
TEST(SchemaGrammar, AToolThatATemplateCannotTakeIsShownMorePlainly) {
  const std::pair<const char*, const char*> rows[] = {
      {"ByteDance-Seed-OSS.jinja", R"({"anyOf":[{"type":"integer"},{"type":"null"}]})"},
      {"ByteDance-Seed-OSS.jinja", R"({"enum":["a","b"]})"},
      {"ByteDance-Seed-OSS.jinja", R"({"type":["string","null"]})"},
      {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja", R"({"type":["string","null"]})"},
      {"ByteDance-Seed-OSS.jinja", R"({"type":"string","enum":["a","b"]})"},
      {"ByteDance-Seed-OSS.jinja", R"({"type":"string","pattern":"^\\d{2}$"})"},
      {"CohereForAI-c4ai-command-r-plus-tool_use.jinja", R"({"type":["string","null"]})"},
      {"openai-gpt-oss-120b.jinja", R"({"type":"array"})"},
      {"Apertus-8B-Instruct.jinja", "true"},
      {"GigaChat3.1-10B-A1.8B.jinja", R"({"type":"object","properties":{"x":{"type":["integer","null"]}}})"},
      {"meetkai-functionary-medium-v3.2.jinja", R"({"type":"string","description":null})"},
  };
  for (const auto& [name, property] : rows) {
    const Json parameters = {
        {"type", "object"}, {"properties", {{"a", Json::parse(property)}}}, {"required", Json::array({"a"})}};
    const auto rendered = template_of(name)->render(asks_with(parameters), {});
    ASSERT_TRUE(rendered.ok()) << name << " " << property << ": " << rendered.error().message;
    EXPECT_NE(rendered->text.find("Hello"), std::string::npos) << name;
    if (rendered->grammar.empty()) continue;
    GrammarCache grammars(cria());
    EXPECT_TRUE(grammars.sampler(rendered->grammar, {}).ok()) << name << rendered->grammar;
  }
}

// Its author reads the items of a list as `schema.items`, which is another thing in Jinja.
TEST(SchemaGrammar, ATemplateShowsTheItemsOfAList) {
  const Json list = {{"type", "array"}, {"items", {{"type", "string"}}}};
  const Json parameters = {{"type", "object"}, {"properties", {{"a", list}}}, {"required", Json::array({"a"})}};
  const auto rendered =
      template_of("CohereForAI-c4ai-command-r-plus-tool_use.jinja")->render(asks_with(parameters), {});
  ASSERT_TRUE(rendered.ok()) << rendered.error().message;
  EXPECT_NE(rendered->text.find("f(a: List[str])"), std::string::npos) << rendered->text;
}

// Each of many values, and nothing that only looks like one.
TEST(SchemaGrammar, LongListsOfConstants) {
  Json values = Json::array({1, 12, 123, true, nullptr, "", "a\"b", "a\\b", "日本", "日本語"});
  for (int i = 0; i < 2000; ++i) values.push_back(fmt::format("{}/value {}", i * 7919 % 2000, i));
  const Matcher list(Json{{"enum", values}});
  for (std::size_t i = 0; i < values.size(); i += i < 20 ? 1 : 97) {
    EXPECT_TRUE(list.takes(values[i])) << values[i].dump();
  }
  for (const char* text : {"13", "1234", "\"a\"", "\"日\"", "\"日本", "nul", "\"0/value 1\"", "\"\"\"", "[]"}) {
    EXPECT_FALSE(list.takes(std::string(text))) << text;
  }
  const Json object = {
      {"type", "object"}, {"properties", {{"a", {{"enum", values}}}}}, {"required", Json::array({"a"})}};
  EXPECT_TRUE(Matcher(object).takes(std::string(R"({"a": "7/value 153"})")) ||
              Matcher(object).takes(std::string(R"({"a":"0/value 0"})")));
}

}  // namespace
}  // namespace drover
