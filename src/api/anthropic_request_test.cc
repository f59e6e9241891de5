#include "api/anthropic_request.h"

#include "api/ask_fixture.h"

namespace drover::api {
namespace {

TEST(AnthropicMessage, WhatIsAsked) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]})",
       R"(m user"Hi" options={"num_predict":5} think=off?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"stream":true})",
       R"(m stream user"Hi" options={"num_predict":5} think=off?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"temperature":0.5,"top_p":0.5,"top_k":3,"stop_sequences":["x"]})",
       R"(m user"Hi" options={"num_predict":5,"temperature":0.5,"top_p":0.5,"top_k":3,"stop":["x"]} think=off?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"system":"s"})",
       R"(m system"s" user"Hi" options={"num_predict":5} think=off?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"system":[{"type":"text","text":"x-anthropic-billing-header: 1"},{"type":"text","text":"Be brief."}]})",
       R"(m system"Be brief." user"Hi" options={"num_predict":5} think=off?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]})",
       R"(m user"ab" options={"num_predict":5} think=off?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm"},{"type":"tool_use","id":"1","name":"f","input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"3"},{"type":"text","text":"And?"}]}]})",
       R"(m assistant""~"hm" call(1,f,{"a":1}) tool"3" of(1,f) user"And?" options={"num_predict":5} think=off?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"server_tool_use","id":"1","name":"s","input":{}},{"type":"web_search_tool_result","tool_use_id":"1","content":{"type":"x_error","error_code":"e"}},{"type":"text","text":"b"}]}]})",
       R"(m assistant"a" call(1,s,{}) tool"x_error: e" of(1,s) assistant"b" options={"num_predict":5} think=off?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","data":"d"}},{"type":"tool_reference"}]}]})",
       R"(m user"d\n" options={"num_predict":5} think=off? warns: content blocks of the type "tool_reference" are left out)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"thinking":{"type":"enabled","budget_tokens":9}})",
       R"(m user"Hi" options={"num_predict":5} think=on?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"thinking":{"type":"adaptive"}})",
       R"(m user"Hi" options={"num_predict":5})"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"thinking":{"type":"adaptive"},"output_config":{"effort":"High"}})",
       R"(m user"Hi" options={"num_predict":5} think=on:high?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"output_config":{"effort":"xhigh"}})",
       R"(m user"Hi" options={"num_predict":5} think=on:max?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"output_format":{"type":"json_schema","schema":{"type":"integer"}}})",
       R"(m user"Hi" options={"num_predict":5} think=off? format={"type":"integer"})"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"output_config":{"format":{"type":"json_schema","schema":{"type":"integer"}}}})",
       R"(m user"Hi" options={"num_predict":5} think=off? format={"type":"integer"})"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"tools":[{"name":"f"}],"tool_choice":{"type":"any","disable_parallel_tool_use":true}})",
       R"(m user"Hi" tools=f required one_call options={"num_predict":5} think=off?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"tools":[{"name":"f"},{"name":"g"}],"tool_choice":{"type":"tool","name":"g"}})",
       R"(m user"Hi" tools=g required options={"num_predict":5} think=off?)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"tools":[{"name":"f"},{"type":"web_search_20250305","name":"s"}],"tool_choice":{"type":"tool","name":"s"}})",
       R"(m user"Hi" tools=f options={"num_predict":5} think=off? warns: tools of the type "web_search_20250305" are left out: only Anthropic's servers have them)"},
  };
  check_rows(read_anthropic_message, kRows);
}

TEST(AnthropicMessage, WhatIsWrong) {
  constexpr BodyRow kRows[] = {
      {R"({"max_tokens":5,"messages":[{"role":"user","content":"Hi"}]})", R"(400: model is required)"},
      {R"({"model":5,"max_tokens":5,"messages":[{"role":"user","content":"Hi"}]})", R"(400: model must be a string)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}]})",
       R"(400: max_tokens is required and must be positive)"},
      {R"({"model":"m","max_tokens":"many","messages":[{"role":"user","content":"Hi"}]})",
       R"(400: max_tokens must be an integer)"},
      {R"({"model":"m","max_tokens":3000000000,"messages":[{"role":"user","content":"Hi"}]})",
       R"(400: max_tokens: option "num_predict" must be at most 2147483647)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"stream":"yes"})",
       R"(400: stream must be true or false)"},
      {R"({"model":"m","max_tokens":5,"messages":[]})", R"(400: messages is required)"},
      {R"({"model":"m","max_tokens":5,"messages":"Hello"})", R"(400: messages must be a list)"},
      {R"({"model":"m","max_tokens":5,"messages":[5]})", R"(400: a message must be an object)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":5,"content":"Hi"}]})",
       R"(400: messages[0].role must be a string)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"wizard","content":"Hi"}]})",
       R"(400: invalid message role: "wizard")"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user"}]})", R"(400: message content is required)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":5}]})",
       R"(400: message content must be a string or a list of content blocks)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"b"},{"type":"text","text":5}]}]})",
       R"(400: messages[1].content[1].text must be a string)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":[{"type":5}]}]})",
       R"(400: messages[0].content[0].type must be a string)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":5}]}]}]})",
       R"(400: messages[0].content[0].content[0].text must be a string)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":[{"type":"tool_use","name":"f"}]}]})",
       R"(400: tool_use block missing required 'id' field)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":[{"type":"image"}]}]})",
       R"(400: image input is not supported yet)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"temperature":"hot"})",
       R"(400: temperature must be a number)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"top_k":-3000000000})",
       R"(400: option "top_k" must be at least -2147483648)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"stop_sequences":"x"})",
       R"(400: stop_sequences must be a list)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"stop_sequences":[1]})",
       R"(400: stop_sequences must be a list of strings)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"system":5})",
       R"(400: system must be a string or a list of content blocks)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"system":[{"type":"text","text":5}]})",
       R"(400: system[0].text must be a string)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"thinking":5})",
       R"(400: thinking must be an object)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"thinking":{"type":5}})",
       R"(400: thinking.type must be a string)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"output_format":{"type":"text"}})",
       R"(400: output_format must be of the type json_schema, with a schema)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"output_config":{"effort":5}})",
       R"(400: output_config.effort must be a string)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"tools":[5]})",
       R"(400: a tool must be an object)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"tools":[{"name":"f"},{"name":5}]})",
       R"(400: tools[1].name must be a string)"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"tools":[{"name":"f"}],"tool_choice":{"type":"perhaps"}})",
       R"(400: invalid tool_choice type: "perhaps")"},
      {R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"tools":[{"name":"f"}],"tool_choice":{"type":"tool","name":"g"}})",
       R"(400: tool_choice names "g", which is not among the tools)"},
  };
  check_rows(read_anthropic_message, kRows);
}

TEST(AnthropicCount, WhatIsAsked) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}]})",
       R"(m user"Hi" think=off? no_truncate render_only)"},
      {R"({"model":"m"})", R"(400: messages is required)"},
  };
  check_rows(read_anthropic_count, kRows);
}

}  // namespace
}  // namespace drover::api
