// Templates that mean harm, and templates that are noise: each ends soon, with an error or without.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "template/template.h"

namespace drover::go_template {
namespace {

ChatInputs some_inputs() {
  ChatInputs inputs;
  for (int i = 0; i < 5; ++i) {
    Message message;
    message.role = i == 0 ? "system" : i % 2 == 1 ? "user" : "assistant";
    message.content = "message " + std::to_string(i);
    message.thinking = i == 2 ? "hm" : "";
    if (i == 4) message.tool_calls.push_back({"id", 0, "add", R"({"a": 1, "b": [true, null]})"});
    inputs.messages.push_back(std::move(message));
  }
  inputs.tools_json =
      R"([{"type":"function","function":{"name":"add","parameters":{"properties":{"a":{"type":"number"}}}}}])";
  return inputs;
}

// Parses and renders; the message of what went wrong, or nothing.
std::string outcome(std::string_view source, const ChatInputs& inputs) {
  const auto chat_template = Template::parse(source);
  if (!chat_template) return chat_template.error().message;
  const auto prompt = chat_template->render_chat(inputs);
  return prompt ? "" : prompt.error().message;
}

std::string repeated(std::string_view part, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += part;
  return text;
}

void expect_refused(std::string_view source, std::string_view why) {
  const std::string message = outcome(source, some_inputs());
  EXPECT_NE(message.find(why), message.npos) << source.substr(0, 200) << "\n" << message;
}

TEST(HostileTemplate, EndsHoweverLongItsLoops) {
  expect_refused("{{ range 1000000000000 }}{{ end }}", "too many steps");
  expect_refused("{{ range 1000000 }}{{ range 1000000 }}{{ $x := 1 }}{{ end }}{{ end }}", "too many steps");
  expect_refused("{{ $s := print (json .Messages) }}{{ range 1000000 }}{{ if eq (json $) $s }}{{ end }}{{ end }}",
                 "too");
  expect_refused("{{ range 10000000 }}" + repeated("{{ len (slice $.Messages 1) }}", 100) + "{{ end }}",
                 "too many steps");
}

TEST(HostileTemplate, EndsHoweverMuchItWrites) {
  expect_refused("{{ range 100000000 }}" + std::string(10000, 'x') + "{{ end }}",
                 "the output is longer than 33554432 bytes");
  expect_refused("{{ $s := \"x\" }}{{ range 100 }}{{ $s = print $s $s }}{{ end }}",
                 "error calling print: the text is too long");
  expect_refused("{{ $s := \"x\" }}{{ range 100 }}{{ $s = printf \"%s%s\" $s $s }}{{ end }}",
                 "error calling printf: the text is too long");
  expect_refused(
      "{{ range 100000 }}{{ $s := printf `" + repeated("%999d", 100) + "`" + repeated(" 1", 100) + " }}{{ end }}",
      "too");
  expect_refused("{{ printf `%1000000d` 1 }}", "\"%1000000d\" is too wide");
}

TEST(HostileTemplate, EndsHoweverDeepItGoes) {
  expect_refused("{{ define \"t\" }}{{ template \"t\" . }}{{ end }}{{ template \"t\" . }}",
                 "exceeded maximum template depth (500)");
  expect_refused(
      "{{ define \"a\" }}{{ if true }}{{ template \"b\" . }}{{ end }}{{ end }}"
      "{{ define \"b\" }}{{ range 2 }}{{ template \"a\" . }}{{ end }}{{ end }}{{ template \"a\" . }}",
      "exceeded maximum template depth (500)");
  expect_refused(repeated("{{ if true }}", 101), "nested more than 100 deep");
  expect_refused("{{ " + repeated("(", 101) + "1" + repeated(")", 101) + " }}", "nested more than 100 deep");
  expect_refused("{{ if 0 }}" + repeated("{{ else if 0 }}", 101) + "{{ end }}", "nested more than 100 deep");
  expect_refused(repeated("{{ if true }}", 100000), "longer than 262144 bytes");
  expect_refused(repeated("{{ block `b` . }}", 10000), "nested more than 100 deep");
  expect_refused("{{ range 100000 }}{{ with $a := 1 }}{{ end }}{{ end }}" + repeated("{{ $a := 1 }}", 10001),
                 "more than 10000 variables");
  EXPECT_EQ(outcome("{{ " + repeated("(", 99) + "1" + repeated(")", 99) + " }}", some_inputs()), "");
}

TEST(HostileTemplate, EndsHoweverLongTheTalk) {
  ChatInputs inputs = some_inputs();
  for (int i = 0; i < 4000; ++i) inputs.messages.push_back(inputs.messages[static_cast<std::size_t>(1 + i % 2)]);
  EXPECT_EQ(
      outcome("{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}{{ .Content }}{{ end }}",
              inputs),
      "");
  EXPECT_EQ(outcome("{{ .System }}{{ .Prompt }}{{ .Response }}", inputs), "");
}

// What mutations are made of: whole pieces of templates, so that many of them still parse.
const std::vector<std::string> kPieces = {"{{",
                                          "}}",
                                          "{{- ",
                                          " -}}",
                                          "{{ end }}",
                                          "{{ else }}",
                                          "{{ else if .X }}",
                                          "{{ if ",
                                          "{{ range ",
                                          "{{ with ",
                                          "{{ range $i, $m := .Messages }}",
                                          "{{ break }}",
                                          "{{ continue }}",
                                          "{{ define \"t\" }}",
                                          "{{ template \"t\" . }}",
                                          "{{ block \"b\" . }}",
                                          "{{ $x := ",
                                          "{{ $x = ",
                                          "$x",
                                          "$",
                                          ".",
                                          ".Messages",
                                          ".Content",
                                          ".Role",
                                          ".Tools",
                                          ".Function",
                                          ".Response",
                                          ".Thinking",
                                          ".ToolCalls",
                                          "(",
                                          ")",
                                          "|",
                                          " ",
                                          "\n",
                                          "\"s\"",
                                          "`r`",
                                          "'c'",
                                          "1",
                                          "-1",
                                          "0x7f",
                                          "1.5e3",
                                          "nil",
                                          "true",
                                          "index ",
                                          "slice ",
                                          "len ",
                                          "eq ",
                                          "lt ",
                                          "and ",
                                          "or ",
                                          "not ",
                                          "print ",
                                          "printf \"%5d %q %v\" ",
                                          "json ",
                                          "/*",
                                          "*/",
                                          ":=",
                                          ",",
                                          "\xff",
                                          "\xc3\xa9",
                                          "currentDate",
                                          "toTypeScriptType "};

const std::vector<std::string> kSeeds = {
    "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}{{ if eq .Role \"user\" }}U {{ "
    ".Content }}"
    "{{ else if .ToolCalls }}{{ range .ToolCalls }}{{ .Function.Name }} {{ .Function.Arguments }}{{ end }}{{ end }}{{ "
    "end }}",
    "{{ if .System }}{{ .System }}{{ end }}{{ if .Prompt }}{{ .Prompt }}{{ end }}{{ .Response }}<end>",
    "{{ define \"t\" }}{{ with . }}{{ json . }}{{ end }}{{ end }}{{ range .Tools }}{{ template \"t\" .Function }}{{ "
    "end }}{{ .Messages }}",
    "{{- /* x */ -}} {{ $x := index .Messages 0 }}{{ $x.Content | printf \"%-10s|%q\" $x.Role }}{{ range $k, $v := "
    ".Tools }}{{ $k }}{{ break }}{{ end }}",
};

std::string mutated(std::string text, std::mt19937& random) {
  const auto below = [&](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random);
  };
  for (std::size_t round = 1 + below(2); round > 0; --round) {
    const std::size_t at = below(text.size() + 1);
    switch (below(5)) {
      case 0:
        text.insert(at, kPieces[below(kPieces.size())]);
        break;
      case 1:
        text.erase(at, below(12));
        break;
      case 2:
        if (at < text.size()) text[at] = static_cast<char>(below(256));
        break;
      case 3:
        text.insert(at, text.substr(below(text.size() + 1), below(40)));
        break;
      default:
        text.replace(at, below(6), kPieces[below(kPieces.size())]);
    }
  }
  return text;
}

TEST(HostileTemplate, SurvivesNoise) {
  const ChatInputs inputs = some_inputs();
  std::mt19937 random(20240301);
  int parsed = 0;
  int rendered = 0;
  constexpr int kRounds = 20000;
  for (int i = 0; i < kRounds; ++i) {
    std::string source;
    if (i % 8 == 0) {
      for (std::size_t n = random() % 20; n > 0; --n) source += kPieces[random() % kPieces.size()];
    } else {
      source = mutated(kSeeds[random() % kSeeds.size()], random);
    }
    const auto chat_template = Template::parse(source);
    if (!chat_template) {
      EXPECT_EQ(chat_template.error().message.rfind("template: :", 0), 0U) << source;
      continue;
    }
    ++parsed;
    const auto prompt = chat_template->render_chat(inputs);
    if (prompt) {
      ++rendered;
    } else {
      EXPECT_EQ(prompt.error().message.rfind("template: :", 0), 0U) << source << "\n" << prompt.error().message;
    }
  }
  // Noise that never gets past the parser would show little.
  EXPECT_GT(parsed, kRounds / 10);
  EXPECT_GT(rendered, kRounds / 20);
  RecordProperty("parsed", parsed);
  RecordProperty("rendered", rendered);
}

}  // namespace
}  // namespace drover::go_template
