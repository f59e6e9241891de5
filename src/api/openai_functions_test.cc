#include "api/openai_functions.h"

#include <gtest/gtest.h>

namespace drover::api {
namespace {

struct Row {
  const char* what;
  const char* body;
  const char* expected;
  bool old_form;
};

TEST(OpenaiFunctions, BecomeTools) {
  const Row rows[] = {
      {"a function", R"({"functions":[{"name":"f"}],"function_call":"auto"})",
       R"({"tools":[{"type":"function","function":{"name":"f"}}],"parallel_tool_calls":false,"tool_choice":"auto"})",
       true},
      {"one by name", R"({"functions":[{"name":"f"}],"function_call":{"name":"f"}})",
       R"({"tools":[{"type":"function","function":{"name":"f"}}],"parallel_tool_calls":false,)"
       R"("tool_choice":{"type":"function","function":{"name":"f"}}})",
       true},
      {"no wish", R"({"functions":[{"name":"f"}],"function_call":null})",
       R"({"tools":[{"type":"function","function":{"name":"f"}}],"parallel_tool_calls":false})", true},
      {"what is wrong is for the tools to refuse", R"({"functions":[5],"function_call":7})",
       R"({"tools":[{"type":"function","function":5}],"parallel_tool_calls":false,"tool_choice":7})", true},
      {"tools count", R"({"tools":[{"type":"function"}],"functions":[{"name":"f"}]})",
       R"({"tools":[{"type":"function"}],"functions":[{"name":"f"}]})", false},
      {"nothing is nothing", R"({"functions":[],"function_call":"none"})", R"({"functions":[],"function_call":"none"})",
       false},
      {"no list", R"({"functions":"f","messages":"x"})", R"({"functions":"f","messages":"x"})", false},
      {"a call and its result",
       R"({"messages":[{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
                       {"role":"function","name":"f","content":"1"}]})",
       R"({"messages":[{"role":"assistant","content":null,"tool_calls":[{"type":"function",)"
       R"("function":{"name":"f","arguments":"{}"},"id":"function_call_1"}]},)"
       R"({"role":"tool","name":"f","content":"1","tool_call_id":"function_call_1"}]})",
       false},
      {"SDKs send the empty fields too",
       R"({"messages":[{"role":"assistant","content":"a","function_call":null,"tool_calls":[{"id":"c"}]}]})",
       R"({"messages":[{"role":"assistant","content":"a","function_call":null,"tool_calls":[{"id":"c"}]}]})", false},
      {"a result without a call", R"({"messages":[{"role":"function","name":"f","content":"1"},5,{}]})",
       R"({"messages":[{"role":"tool","name":"f","content":"1"},5,{}]})", false},
  };
  for (const Row& row : rows) {
    Json body = Json::parse(row.body);
    EXPECT_EQ(functions_to_tools(body), row.old_form) << row.what;
    EXPECT_EQ(body.dump(), row.expected) << row.what;
  }
}

}  // namespace
}  // namespace drover::api
