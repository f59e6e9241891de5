#include "store/jinja_check.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

std::string repeated(int count, std::string_view text) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

TEST(JinjaCheck, HonestTemplatesPass) {
  for (const std::string& text : {
           std::string(),
           std::string("plain text with { and } and a lone {"),
           std::string("{# a comment with {{ and {% if %} in it #}{{ messages[0]['content'] | trim }}"),
           std::string("{%- if a -%}{%- elif b -%}{%- else -%}{%- endif -%}"),
           std::string("{{ {'a': {'b': [1, (2)]}} | tojson }}{% set x = {'a': {}} %}{{ '}}' }}{{ \"(((\\\"((\" }}"),
           std::string("{% set x %}text{% endset %}{% macro m(a=1) %}{% endmacro %}{% set y = 1 %}"),
           std::string("{{ unclosed"),
           std::string("{{ 'unclosed string"),
           std::string("{{ 'ends in \\"),
           std::string("{# unclosed"),
           repeated(5000, "{% if a == '(' %}{{ '{' }}{% elif b %}{% for x in y %}{% endfor %}{% endif %}"),
           repeated(5000, "{% set x = [1, 2] %}{{ (x) }}"),
           repeated(99, "{% if a %}") + repeated(99, "{% endif %}"),
           "{{" + repeated(99, "(") + "1" + repeated(99, ")") + "}}",
           "{{ 1" + repeated(900, "+ 1") + "}}",
       }) {
    EXPECT_EQ(jinja_problem(text), "") << text.substr(0, 100);
  }
}

// All of these ended the engine's process.
TEST(JinjaCheck, NestingIsBounded) {
  const std::string blocks = "has blocks that are nested more than 100 deep";
  const std::string brackets = "has brackets that are nested more than 100 deep";
  const std::string parts = "has more than 2000 parts between one pair of braces";
  constexpr int kMany = 20'000;
  for (const std::string_view block : {"{% if a %}", "{%- for x in y -%}", "{%+ macro m() %}", "{% call m() %}",
                                       "{% filter upper %}", "{% set x %}", "{%if a%}text{{ 1 }}{# {% endif %} #}"}) {
    EXPECT_EQ(jinja_problem(repeated(kMany, block)), blocks) << block;
    EXPECT_EQ(jinja_problem(repeated(101, block)), blocks) << block;
  }
  EXPECT_EQ(jinja_problem("{% if a %}" + repeated(kMany, "{% elif b %}") + "{% endif %}"), blocks);
  EXPECT_EQ(jinja_problem(repeated(101, "{% if a %}{% if b %}{% endif %}")), blocks);
  // A string or an object that seems to end the tag, or to close what is open.
  EXPECT_EQ(jinja_problem(repeated(101, "{% if '{% endif %}' %}")), blocks);
  EXPECT_EQ(jinja_problem(repeated(101, "{% if {'a': {'b': 1}} %}")), blocks);
  for (const std::string_view open : {"(", "[", "{", "{'a':", "[("}) {
    EXPECT_EQ(jinja_problem("{{ " + repeated(kMany, open)), brackets) << open;
    EXPECT_EQ(jinja_problem("{% if " + repeated(kMany, open) + " %}"), brackets) << open;
  }
  for (const std::string_view link :
       {"not ", "-", "- ", "a|upper|", "a.b.", "a+", "a if b else ", "a is b and ", "m()", "x[0]", "'a'~", "'a' "}) {
    EXPECT_EQ(jinja_problem("{{ " + repeated(kMany, link) + "1 }}"), parts) << link;
  }
  EXPECT_EQ(jinja_problem(std::string(kJinjaBytesMax + 1, 'x')), "has more than 1048576 bytes");
}

}  // namespace
}  // namespace drover
