// The language by itself: what templates write about plain data, and what is said about wrong ones.
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <string>

#include "template/executor.h"
#include "template/format.h"
#include "template/parser.h"
#include "template/value.h"

namespace drover::go_template {
namespace {

constexpr const char* kData = R"({
  "Name": "Ada", "Empty": "", "Null": null, "Yes": true, "No": false, "Number": 2.5, "Big": 1000000,
  "List": ["a", "b", "c"], "None": [], "Map": {"z": "last", "a": "first", "m": {"deep": "value"}},
  "People": [{"Name": "Bo", "Tags": ["x"]}, {"Name": "Cy", "Tags": []}]
})";

constexpr std::chrono::system_clock::time_point kNow =
    std::chrono::sys_days(std::chrono::year(2024) / 3 / 1) + std::chrono::hours(12);

Result<std::string> render(std::string_view source, std::string_view json = kData, Budget budget = {},
                           std::chrono::system_clock::time_point now = kNow) {
  auto tree = parse_syntax(source);
  if (!tree) return tree.error();
  const auto data = parse_json(json);
  if (!data) return data.error();
  BoundedText output(kOutputBytesMax);
  const Program program{source, &*tree, now};
  if (auto done = execute(program, tree->root, sorted_by_key(*data), budget, output); !done) return done.error();
  return std::move(output).take();
}

struct Case {
  const char* source;
  const char* expected;
};

void expect_all(std::initializer_list<Case> cases) {
  for (const Case& test : cases) {
    const auto text = render(test.source);
    ASSERT_TRUE(text) << test.source << "\n" << text.error().message;
    EXPECT_EQ(*text, test.expected) << test.source;
  }
}

void expect_errors(std::initializer_list<Case> cases) {
  for (const Case& test : cases) {
    const auto text = render(test.source);
    ASSERT_FALSE(text) << test.source << "\n" << *text;
    EXPECT_EQ(text.error().message, test.expected) << test.source;
    EXPECT_EQ(text.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(TemplateLanguage, CopiesTextAndTrims) {
  expect_all({
      {"", ""},
      {"plain } }} text", "plain } }} text"},
      {"a {{ .Name }} b", "a Ada b"},
      {"a \n {{- .Name -}} \n b", "aAdab"},
      {"a {{- /* note */ -}} b", "ab"},
      {"a {{/* note {{ */}} b", "a  b"},
      {"a{{ -1 }}", "a-1"},  // no space after the minus: a number, not a trim marker
      {"{{- .Name}}\n\n{{- .Name}}", "AdaAda"},
      {"x{{.Name\n}}y", "xAday"},
      {"{{\"}}\"}}", "}}"},
  });
}

TEST(TemplateLanguage, ReadsLiterals) {
  expect_all({
      {R"({{ "a\tb\"\\\u00e9\x41\101" }})", "a\tb\"\\\u00e9AA"},
      {"{{ `raw \\n \"x\"` }}", "raw \\n \"x\""},
      {"{{ 'a' }} {{ '\\n' }} {{ 'é' }}", "97 10 233"},
      {"{{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 017 }} {{ 1_000 }} {{ -5 }} {{ +5 }}", "31 5 15 15 1000 -5 5"},
      {"{{ 1.5 }} {{ 2.0 }} {{ 1e3 }} {{ .5 }} {{ 1e21 }}", "1.5 2 1000 0.5 1e+21"},
      {"{{ true }} {{ false }} {{ print nil }}", "true false <nil>"},
  });
}

TEST(TemplateLanguage, FollowsFields) {
  expect_all({
      {"{{ .Map.m.deep }}", "value"},
      {"{{ $.Map.a }}{{ (index .People 0).Name }}", "firstBo"},
      {"{{ .Missing }}|{{ .Null }}|{{ .Map.none }}", "<no value>|<no value>|<no value>"},
      {"{{ (.Missing).Deeper }}", "<no value>"},
      {"{{ .List }} {{ .None }} {{ .Map }}", "[a b c] [] map[a:first m:map[deep:value] z:last]"},
      {"{{ .Number }} {{ .Big }} {{ .Yes }}", "2.5 1e+06 true"},
      {"{{ with .Map }}{{ .z }}{{ $.Name }}{{ end }}", "lastAda"},
  });
}

TEST(TemplateLanguage, Branches) {
  expect_all({
      {"{{ if .Yes }}1{{ else }}2{{ end }}{{ if .No }}1{{ else }}2{{ end }}", "12"},
      {"{{ if .Empty }}1{{ else if .None }}2{{ else if .Name }}3{{ else }}4{{ end }}", "3"},
      {"{{ if .Missing }}1{{ end }}{{ if 0 }}2{{ end }}{{ if 0.0 }}3{{ end }}{{ if .Null }}4{{ end }}{{ if 1 }}5{{ end "
       "}}",
       "5"},
      {"{{ with .Name }}<{{ . }}>{{ end }}{{ with .Empty }}x{{ else }}none{{ end }}", "<Ada>none"},
      {"{{ with .Empty }}x{{ else with .Name }}{{ . }}{{ end }}", "Ada"},
      {"{{ with $x := .Name }}{{ $x }}{{ end }}{{ if $y := .Yes }}{{ $y }}{{ end }}", "Adatrue"},
  });
}

TEST(TemplateLanguage, Ranges) {
  expect_all({
      {"{{ range .List }}{{ . }},{{ end }}", "a,b,c,"},
      {"{{ range $i, $e := .List }}{{ $i }}{{ $e }}{{ end }}", "0a1b2c"},
      {"{{ range $e := .List }}{{ $e }}{{ end }}", "abc"},
      {"{{ range $k, $v := .Map }}{{ $k }} {{ end }}", "a m z "},
      {"{{ range .None }}x{{ else }}none{{ end }}{{ range .Missing }}x{{ else }}nothing{{ end }}", "nonenothing"},
      {"{{ range 3 }}{{ . }}{{ end }}{{ range $i := 2 }}{{ $i }}{{ end }}{{ range 0 }}x{{ else }}-{{ end }}", "01201-"},
      {"{{ range .List }}{{ if eq . \"b\" }}{{ continue }}{{ end }}{{ . }}{{ end }}", "ac"},
      {"{{ range .List }}{{ if eq . \"b\" }}{{ break }}{{ end }}{{ . }}{{ end }}!", "a!"},
      {"{{ range .People }}{{ .Name }}{{ range .Tags }}{{ . }}{{ break }}{{ else }}-{{ end }}{{ end }}", "BoxCy-"},
      {"{{ $i := 0 }}{{ $e := 0 }}{{ range $i, $e = .List }}{{ end }}{{ $i }}{{ $e }}", "2c"},
  });
}

TEST(TemplateLanguage, ScopesVariables) {
  expect_all({
      {"{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"},
      {"{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"},
      {"{{ $last := \"\" }}{{ range .List }}{{ $last = . }}{{ end }}{{ $last }}", "c"},
      {"{{ $x := .Map }}{{ $x.m.deep }}", "value"},
      {"{{ range .List }}{{ $y := . }}{{ end }}{{ $.Name }}", "Ada"},
  });
}

TEST(TemplateLanguage, PipesAndCalls) {
  expect_all({
      {"{{ .Name | printf \"%s-%s\" \"x\" }}", "x-Ada"},
      {"{{ .List | len | printf \"%3d\" }}", "  3"},
      {"{{ len (slice .List 1) }} {{ index .List 2 }} {{ index .Map \"m\" \"deep\" }} {{ slice .Name 1 2 }}",
       "2 c value d"},
      {"{{ index .Map \"none\" }} {{ index .Name 0 }} {{ slice .List 1 3 }}", "<no value> 65 [b c]"},
      {"{{ and .Yes .Name }} {{ and .Empty .Name }}| {{ or .Empty .Name }} {{ or .No .Empty }}| {{ not .No }}",
       "Ada | Ada | true"},
      {"{{ or .Yes (index .List 99) }} {{ and .No (index .List 99) }}", "true false"},  // the rest is not looked at
      {"{{ .Yes | and .Name }} {{ .Name | or .Empty }}", "true Ada"},
      {"{{ eq .Name \"x\" \"Ada\" }} {{ ne 1 2 }} {{ lt 1 2 }} {{ le \"b\" \"a\" }} {{ gt 2.5 1.5 }} {{ ge 2 2 }}",
       "true true true false true true"},
      {"{{ eq .Missing nil }} {{ eq .Missing \"x\" }} {{ eq .None nil }} {{ ne .Name nil }}", "true false false true"},
      {"{{ print 1 2 \"a\" \"b\" 3 }} {{ println \"x\" 1 }}", "1 2ab3 x 1\n"},
      {"{{ eq currentDate \"2024-03-01\" }} {{ currentDate }} {{ yesterdayDate }} {{ toTypeScriptType 1 }}",
       "true 2024-03-01 2024-02-29 any"},
      {"{{ json .Map }}", R"({"a":"first","m":{"deep":"value"},"z":"last"})"},
  });
}

// In this time zone the clocks go from 23:00 to 2:00 of the next day, so a day before 23:30 is no time of yesterday.
TEST(TemplateLanguage, YesterdayIsTheDayBeforeWhateverTheClocksDo) {
  const char* before = std::getenv("TZ");
  const std::string zone = before == nullptr ? "" : before;
  ::setenv("TZ", "XST3XDT0,M11.1.0/23,M2.3.0/23", 1);
  ::tzset();
  const auto now =
      std::chrono::sys_days(std::chrono::year(2018) / 11 / 5) + std::chrono::hours(23) + std::chrono::minutes(30);
  const auto text = render("{{ currentDate }} {{ yesterdayDate }}", kData, {}, now);
  before == nullptr ? ::unsetenv("TZ") : ::setenv("TZ", zone.c_str(), 1);
  ::tzset();
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(*text, "2018-11-05 2018-11-04");
}

TEST(TemplateLanguage, WrittenTextCostsSteps) {
  Budget small;
  small.work_units_max = 1000;
  const auto loop = [](const std::string& text) { return "{{ range 100 }}" + text + "{{ end }}"; };
  EXPECT_TRUE(render(loop("x"), kData, small));
  const auto written = render(loop(std::string(6400, 'x')), kData, small);
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().message.find("the template takes too many steps"), std::string::npos);
}

TEST(TemplateLanguage, PrintsAsGoDoes) {
  expect_all({
      // The last letter before the surrogates is one, and a surrogate is none.
      {"{{ printf \"%q %q\" \"\xed\x9f\xbb\" \"\xed\xa0\x80\" }}", "\"\xed\x9f\xbb\" \"\\xed\\xa0\\x80\""},
      {R"({{ printf "%5s|%-5s|%4q|%q" "ab" "ab" "" "a\"b\n" }})", "   ab|ab   |  \"\"|\"a\\\"b\\n\""},
      {R"({{ printf "%s\n\n%s" .Name "x" }})", "Ada\n\nx"},
      {R"({{ printf "%d %4d|%-4d|%v" 5 -5 5 -7 }})", "5   -5|5   |-7"},
      {R"({{ printf "%v %v %6v %v %s %%" true nil 2.25 1e-5 .List }})", "true <nil>   2.25 1e-05 [a b c] %"},
      {R"({{ printf "%d %s %q %d" "x" 1 2 2.5 }})", "%!d(string=x) %!s(int=1) %!q(int=2) %!d(float64=2.5)"},
  });
}

TEST(TemplateLanguage, NamesTheVerbThatItDoesNotHave) {
  const auto failure = [](const std::string& why) {
    return "template: :1:3: executing \"\" at <printf>: error calling printf: " + why;
  };
  const std::string others = " is not supported: there are %s, %d, %v, %q and %%, with a width and a minus sign";
  for (const char* verb : {"%x", "%+d", "%05d", "% d", "%#v", "%.2f", "%t", "%*", "%-%", "%\xc3\xa9"}) {
    const auto text = render("{{ printf `a " + std::string(verb) + " b` 1 }}", kData);
    ASSERT_FALSE(text) << verb;
    EXPECT_EQ(text.error().message, failure("\"" + std::string(verb) + "\"" + others));
  }
  const std::vector<std::pair<std::string, std::string>> formats = {
      {"`%s %5s` 1", R"(there is no value for "%5s")"},
      {"`%s` 1 2", "there are 2 values for 1 verbs"},
      {"`50%`", R"(the format ends in the middle of a verb: "%")"},
      {"`%1000s` 1", R"("%1000s" is too wide: 999 is the most)"},
  };
  for (const auto& [arguments, why] : formats) {
    const auto text = render("{{ printf " + arguments + " }}", kData);
    ASSERT_FALSE(text) << arguments;
    EXPECT_EQ(text.error().message, failure(why));
  }
}

TEST(TemplateLanguage, DefinesAndCallsTemplates) {
  expect_all({
      {"{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" .Name }}{{ template \"t\" 1 }}", "<Ada><1>"},
      {"{{ template \"t\" . }}{{ define \"t\" }}{{ .Name }}{{ $.Name }}{{ end }}", "AdaAda"},
      {"{{ block \"b\" .Map }}{{ .a }}{{ end }}{{ template \"b\" .Map.m }}", "first<no value>"},
      {"{{ define \"t\" }}{{ end }}{{ define \"t\" }}x{{ end }}{{ template `t` }}", "x"},
  });
}

TEST(TemplateLanguage, SaysWhatIsWrongWithTheSource) {
  expect_errors({
      {"a\n\n{{ .X } }}", "template: :3: unexpected \"}\" in operand"},
      {"{{ if .X }}", "template: :1: unexpected EOF"},
      {"{{ end }}", "template: :1: unexpected {{end}}"},
      {"{{ else }}", "template: :1: unexpected {{else}}"},
      {"{{ if }}{{ end }}", "template: :1: missing value for if"},
      {"{{ if .X }}{{ else }}{{ else }}{{ end }}", "template: :1: expected end; found {{else}}"},
      {"{{ }}", "template: :1: missing value for command"},
      {"{{ nope 1 }}", "template: :1: function \"nope\" not defined"},
      {"{{ $x }}", "template: :1: undefined variable \"$x\""},
      {"{{ if $x := 1 }}{{ end }}{{ $x }}", "template: :1: undefined variable \"$x\""},
      {"{{ define \"t\" }}{{ $ }}{{ $x }}{{ end }}", "template: :1: undefined variable \"$x\""},
      {"{{ break }}", "template: :1: {{break}} outside {{range}}"},
      {"{{ range .L }}{{ else }}{{ continue }}{{ end }}", "template: :1: {{continue}} outside {{range}}"},
      {"{{ .X | 1 }}", "template: :1: non executable command in pipeline stage 2"},
      {"{{ (1 }}", "template: :1: unclosed left paren"},
      {"{{ 1) }}", "template: :1: unexpected right paren"},
      {"{{ () }}", "template: :1: missing value for parenthesized pipeline"},
      {"{{ \"abc }}", "template: :1: unterminated quoted string"},
      {"{{ `abc }}", "template: :1: unterminated raw quoted string"},
      {"{{ 'a }}", "template: :1: unterminated character constant"},
      {"{{ 'ab' }}", "template: :1: malformed character constant: 'ab'"},
      {"{{ \"\\z\" }}", "template: :1: invalid syntax"},
      {"{{ /* x }}", "template: :1: unexpected \"/\" in command"},  // no comment: a space before it
      {"{{/* x }}", "template: :1: unclosed comment"},
      {"{{/* x */ y }}", "template: :1: comment ends before closing delimiter"},
      {"{{ .X\n\n", "template: :3: unclosed action started at :1"},
      {"{{ .X", "template: :1: unclosed action"},
      {"{{ 12a }}", "template: :1: bad number syntax: \"12a\""},
      {"{{ 99999999999999999999 }}", "template: :1: integer overflow: \"99999999999999999999\""},
      {"{{ .X+1 }}", "template: :1: bad character U+002B '+'"},
      {"{{ .X : 1 }}", "template: :1: expected :="},
      {"{{ nil.X }}", "template: :1: unexpected . after term \"nil\""},
      {"{{ $a, $b := 1 }}", "template: :1: too many declarations in command"},
      {"{{ range $a, 1 }}{{ end }}", "template: :1: range can only initialize variables"},
      {"{{ range .L }}{{ else if 1 }}{{ end }}", "template: :1: unexpected <if> in input"},
      {"{{ template }}", "template: :1: unexpected \"}}\" in template clause"},
      {"{{ if 1 }}{{ define \"t\" }}{{ end }}{{ end }}", "template: :1: unexpected <define> in command"},
      {"{{ define \"t\" }}a{{ end }}{{ define \"t\" }}b{{ end }}",
       "template: :1: template: multiple definition of template \"t\""},
      {"{{ define \"t\" }}", "template: :1: unexpected EOF"},
      {"{{ \x01 }}", "template: :1: unrecognized character in action: U+0001"},
  });
}

TEST(TemplateLanguage, SaysWhatIsWrongWithTheData) {
  expect_errors({
      {"{{ .Missing.Deeper }}",
       "template: :1:3: executing \"\" at <.Missing.Deeper>: nil pointer evaluating interface {}.Deeper"},
      {"x\n  {{ .Name.First }}",
       "template: :2:5: executing \"\" at <.Name.First>: can't evaluate field First in type string"},
      {"{{ index .List 7 }}", "template: :1:3: executing \"\" at <index>: error calling index: index out of range: 7"},
      {"{{ index .List \"a\" }}",
       "template: :1:3: executing \"\" at <index>: error calling index: cannot index slice/array with type string"},
      {"{{ index .Missing 0 }}",
       "template: :1:3: executing \"\" at <index>: error calling index: index of untyped nil"},
      {"{{ slice .List 2 1 }}",
       "template: :1:3: executing \"\" at <slice>: error calling slice: invalid slice index: 2 > 1"},
      {"{{ slice .List 0 4 }}",
       "template: :1:3: executing \"\" at <slice>: error calling slice: index out of range: 4"},
      {"{{ len 3 }}", "template: :1:3: executing \"\" at <len>: error calling len: len of type int"},
      {"{{ len }}", "template: :1:3: executing \"\" at <len>: wrong number of args for len: want 1 got 0"},
      {"{{ and }}", "template: :1:3: executing \"\" at <and>: wrong number of args for and: want at least 1 got 0"},
      {"{{ eq 1 2.0 }}", "template: :1:3: executing \"\" at <eq>: error calling eq: incompatible types for comparison"},
      {"{{ eq 1 }}", "template: :1:3: executing \"\" at <eq>: error calling eq: missing argument for comparison"},
      {"{{ lt .Missing 1 }}", "template: :1:3: executing \"\" at <lt>: error calling lt: invalid type for comparison"},
      {"{{ range .Name }}{{ end }}", "template: :1:9: executing \"\" at <.Name>: range can't iterate over Ada"},
      {"{{ .Name 1 }}", "template: :1:3: executing \"\" at <.Name>: Name is not a method but has arguments"},
      {"{{ 1 2 }}", "template: :1:3: executing \"\" at <1>: can't give argument to non-function 1"},
      {"{{ nil }}", "template: :1:3: executing \"\" at <nil>: nil is not a command"},
      {"{{ template \"none\" }}", "template: :1:3: executing \"\" at <template>: template \"none\" not defined"},
      {"{{ define \"t\" }}{{ .X.Y }}{{ end }}{{ template \"t\" . }}",
       "template: :1:19: executing \"t\" at <.X.Y>: nil pointer evaluating interface {}.Y"},
      {"{{ $x = 1 }}", "template: :1:3: executing \"\" at <$x = 1>: undefined variable: $x"},
  });
}

TEST(TemplateLanguage, WritesJsonAsGoDoes) {
  const auto written = [](std::string_view json) {
    BoundedText text(1000);
    append_json(text, *parse_json(json));
    return std::move(text).take();
  };
  EXPECT_EQ(written(R"({ "b": [1, 2.50, -0.0, 1e21, 1e-7, 100000000000000000000], "a": null })"),
            R"({"b":[1,2.5,-0,1e+21,1e-7,100000000000000000000],"a":null})");
  EXPECT_EQ(written(R"("<a href='x'>&\u0001\u2028\n\t\b\f/é\"\\")"),
            R"("\u003ca href='x'\u003e\u0026\u0001\u2028\n\t\b\f/é\"\\")");
  EXPECT_EQ(written(R"({"a":1,"b":2,"a":3})"), R"({"a":3,"b":2})");
  BoundedText text(100);
  append_json(text, Value("a\xff\xc3"));
  EXPECT_EQ(std::move(text).take(), R"("a\ufffd\ufffd")");
}

TEST(TemplateLanguage, RefusesJsonThatIsWrongOrTooDeep) {
  EXPECT_FALSE(parse_json("{"));
  EXPECT_FALSE(parse_json(""));
  EXPECT_FALSE(parse_json("[1,]"));
  EXPECT_FALSE(parse_json("1e999"));
  EXPECT_TRUE(parse_json(std::string(64, '[') + std::string(64, ']')));
  const auto deep = parse_json(std::string(65, '[') + std::string(65, ']'));
  ASSERT_FALSE(deep);
  EXPECT_EQ(deep.error().message, "JSON is nested more than 64 deep");
}

}  // namespace
}  // namespace drover::go_template
