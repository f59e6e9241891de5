#include "api/openai_tools.h"

#include <gtest/gtest.h>

namespace drover::api {
namespace {

struct Read {
  OpenaiTools tools;
  Warnings warnings;
  std::string error;

  std::string names() {
    std::string all;
    functions = tools.take_functions();
    for (const Json& tool : functions) all += tool["function"]["name"].get<std::string>() + " ";
    return all;
  }
  Json functions;
};

Read read(const char* list) {
  Read read;
  if (auto done = read.tools.read(Json::parse(list), read.warnings); !done) read.error = done.error().message;
  return read;
}

// As the client knows it: "namespace/name", with a star if it is a custom one.
std::string known(const Read& read, const std::string& function) {
  const OpenaiTool tool = read.tools.tool_of(function);
  return (tool.space.empty() ? "" : tool.space + "/") + tool.name + (tool.custom ? "*" : "");
}

TEST(OpenaiTools, BothFormsOfAFunction) {
  Read both = read(R"([{"type":"function","function":{"name":"a","parameters":{"type":"object"},"more":1}},
                       {"type":"function","name":"b","description":null,"parameters":null,"strict":true}])");
  EXPECT_EQ(both.error, "");
  EXPECT_EQ(both.names(), "a b ");
  EXPECT_EQ(both.functions[0]["function"]["more"], 1) << "the native form is handed on as it is";
  EXPECT_EQ(both.functions[1]["function"]["parameters"], Json::object());
  EXPECT_EQ(known(both, "b"), "b");
}

TEST(OpenaiTools, MembersOfNamespaces) {
  Read some = read(R"([{"type":"namespace","name":"mcp__files__","tools":[
                          {"type":"function","name":"_read"},{"type":"custom","name":"patch"}]},
                       {"type":"namespace","name":"functions","tools":[{"type":"function","name":"exec"}]},
                       {"type":"namespace","name":"empty"}])");
  EXPECT_EQ(some.names(), "mcp__files__read mcp__files__patch exec ");
  EXPECT_EQ(known(some, "mcp__files__read"), "mcp__files__/_read");
  EXPECT_EQ(known(some, "mcp__files__patch"), "mcp__files__/patch*");
  EXPECT_EQ(known(some, "exec"), "exec") << "Codex knows its plain functions without a namespace";
  EXPECT_EQ(some.tools.function_of("mcp__files__", "_read"), "mcp__files__read");
  EXPECT_EQ(some.tools.function_of("gone", "f"), "gone__f") << "also what is only in the conversation";
  EXPECT_EQ(some.tools.function_of("functions", "exec"), "exec");
}

TEST(OpenaiTools, NoTwoShareAName) {
  Read some = read(R"([{"type":"namespace","name":"a","tools":[{"type":"function","name":"f"}]},
                       {"type":"namespace","name":"a_","tools":[{"type":"function","name":"f"}]},
                       {"type":"function","name":"a__f"}])");
  EXPECT_EQ(some.names(), "a__f a__f_ a__f__ ");
  EXPECT_EQ(known(some, "a__f"), "a/f");
  EXPECT_EQ(known(some, "a__f_"), "a_/f");
  EXPECT_EQ(known(some, "a__f__"), "a__f");
  EXPECT_EQ(some.tools.function_of("a_", "f"), "a__f_");
}

TEST(OpenaiTools, WhatOnlyOpenaiRunsIsLeftOutAndNamed) {
  Read some = read(R"([{"type":"web_search","name":"x"},{"type":"web_search_preview_2025_03_11"},{"type":"mcp"},
                       {"type":"teleport"},{"type":"bash_20250124","name":"bash"},{"type":"web_search"}])");
  EXPECT_EQ(some.error, "");
  EXPECT_EQ(some.names(), "bash ");
  EXPECT_EQ(
      some.warnings.line(),
      "tools of the type \"web_search\" are left out; tools of the type \"web_search_preview_2025_03_11\" are left "
      "out; tools of the type \"mcp\" are left out; tools of the type \"teleport\" are left out");
}

TEST(OpenaiTools, ACustomToolTakesAText) {
  for (const char* list : {R"([{"type":"custom","name":"patch","description":"Edits.",
                                "format":{"type":"grammar","syntax":"lark","definition":"start: x"}}])",
                           R"([{"type":"custom","custom":{"name":"patch","description":"Edits.",
                                "format":{"type":"grammar","grammar":{"syntax":"lark","definition":"start: x"}}}}])"}) {
    Read custom = read(list);
    EXPECT_EQ(custom.names(), "patch ");
    const Json& function = custom.functions[0]["function"];
    EXPECT_EQ(function["description"], "Edits.\nThe input follows this grammar (lark):\nstart: x");
    EXPECT_EQ(function["parameters"]["required"], Json::array({"input"}));
    EXPECT_EQ(known(custom, "patch"), "patch*");
  }
  pb::ToolCall call;
  for (const auto& [arguments, input] :
       {std::pair(R"({"input":"a\nb"})", "a\nb"), std::pair(R"({"x":1})", R"({"x":1})"),
        std::pair("not json", "not json"), std::pair(R"({"input":5})", R"({"input":5})")}) {
    call.set_arguments_json(arguments);
    EXPECT_EQ(custom_input(call), input);
  }
}

TEST(OpenaiTools, WhatIsNoTool) {
  EXPECT_EQ(read("[5]").error, "a tool must be an object");
  EXPECT_EQ(read(R"([{"type":"function"}])").error, "a tool of the type \"function\" needs a name");
  EXPECT_EQ(read(R"([{"type":"custom","custom":{}}])").error, "a tool of the type \"custom\" needs a name");
  EXPECT_EQ(read(R"([{"type":"namespace","tools":[]}])").error, "a tool of the type \"namespace\" needs a name");
  EXPECT_NE(read(R"([{"type":5}])").error, "");
  EXPECT_NE(read(R"([{"type":"function","name":5}])").error, "");
  EXPECT_NE(read(R"([{"type":"namespace","name":"a","tools":5}])").error, "");
}

constexpr const char* kThree = R"([{"type":"function","function":{"name":"a"}},{"type":"custom","name":"b"},
                                   {"type":"namespace","name":"n","tools":[{"type":"function","name":"c"}]},
                                   {"type":"web_search"}])";

std::string chosen(const char* choice, std::string& left) {
  Read three = read(kThree);
  const auto found = three.tools.choose(Json::parse(choice));
  left = three.names();
  if (!found) return found.error().message;
  switch (found->kind) {
    case ToolChoice::Kind::kAuto:
      return "auto";
    case ToolChoice::Kind::kNone:
      return "none";
    case ToolChoice::Kind::kRequired:
      return "required";
    case ToolChoice::Kind::kNamed:
      return "the tool " + found->name;
  }
  return "";
}

TEST(OpenaiTools, EveryFormOfAChoice) {
  std::string left;
  for (const std::string plain : {"auto", "none", "required"}) {
    EXPECT_EQ(chosen(('"' + plain + '"').c_str(), left), plain);
    EXPECT_EQ(chosen((R"({"type":")" + plain + "\"}").c_str(), left), plain);
  }
  EXPECT_EQ(chosen("null", left), "auto");
  EXPECT_EQ(chosen(R"({"type":"function","function":{"name":"a"}})", left), "the tool a");
  EXPECT_EQ(chosen(R"({"type":"function","name":"a"})", left), "the tool a");
  EXPECT_EQ(chosen(R"({"type":"custom","name":"b"})", left), "the tool b");
  EXPECT_EQ(chosen(R"({"type":"custom","custom":{"name":"b"}})", left), "the tool b");
  EXPECT_EQ(chosen(R"({"type":"function","name":"c","namespace":"n"})", left), "the tool n__c");
  EXPECT_EQ(left, "a b n__c ");
  EXPECT_EQ(chosen(R"({"type":"web_search"})", left), "auto") << "a wish for what was left out is none";
  EXPECT_EQ(chosen(R"({"type":"mcp"})", left), "tool_choice names \"mcp\", which is not among the tools");
  EXPECT_EQ(chosen(R"("any")", left), "required");
  for (const char* none : {R"("perhaps")", "5", R"({"type":"function"})"}) {
    EXPECT_TRUE(chosen(none, left).starts_with("invalid tool_choice: ")) << none;
  }
}

TEST(OpenaiTools, AllowedTools) {
  std::string left;
  const char* flat = R"({"type":"allowed_tools","mode":"required","tools":[{"type":"custom","name":"b"},
                         {"type":"function","name":"a"},{"type":"web_search"}]})";
  EXPECT_EQ(chosen(flat, left), "required");
  EXPECT_EQ(left, "a b ");
  const char* nested = R"({"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[
                           {"type":"function","function":{"name":"a"}}]}})";
  EXPECT_EQ(chosen(nested, left), "auto");
  EXPECT_EQ(left, "a ");
  EXPECT_EQ(chosen(R"({"type":"allowed_tools","tools":[]})", left), "auto");
  EXPECT_EQ(left, "");
  EXPECT_EQ(chosen(R"({"type":"allowed_tools","tools":[{"type":"function","name":"x"}]})", left),
            "tool_choice names \"x\", which is not among the tools");
  EXPECT_EQ(chosen(R"({"type":"allowed_tools","mode":"required","tools":[]})", left),
            "invalid tool_choice: none of the tools is allowed");
  EXPECT_EQ(chosen(R"({"type":"allowed_tools","mode":"never","tools":[]})", left),
            "invalid tool_choice: the mode of allowed_tools is \"auto\" or \"required\"");
}

}  // namespace
}  // namespace drover::api
