#include "api/openai_request.h"

#include "api/ask_fixture.h"

namespace drover::api {
namespace {

TEST(OpenaiResponse, WhatIsAsked) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","input":"Hi"})", R"(m user"Hi" options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","input":"Hi","instructions":"Be brief.","stream":true})",
       R"(m stream system"Be brief." user"Hi" options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","input":[{"role":"developer","content":"x"},{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},{"type":"function_call","call_id":"1","name":"f","arguments":"{\"a\":1}"},{"type":"function_call_output","call_id":"1","output":"3"}]})",
       R"(m system"x" assistant""~"hm" call(1,f,{"a":1}) tool"3" of(1,f) options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","input":[{"role":"assistant","content":"a"},{"type":"custom_tool_call","call_id":"1","name":"patch","input":"x"}]})",
       R"(m assistant"a" call(1,patch,{"input":"x"}) options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","input":[{"role":"user","content":"a"},{"type":"web_search_call"}]})",
       R"(m user"a" options={"temperature":1.0,"top_p":1.0} warns: input items of the type "web_search_call" are skipped)"},
      {R"({"model":"m","input":"Hi","max_output_tokens":5})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0,"num_predict":5})"},
      {R"({"model":"m","input":"Hi","reasoning":{"effort":"high"}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} think=on:high)"},
      {R"({"model":"m","input":"Hi","text":{"format":{"type":"json_schema","name":"x","schema":{"type":"integer"}}}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} format={"type":"integer"})"},
      {R"({"model":"m","input":"Hi","tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]}],"tool_choice":"required"})",
       R"(m user"Hi" tools=n__f required options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","input":"Hi","include":["x"],"metadata":{"a":"b"},"top_logprobs":2})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} warns: top_logprobs is ignored)"},
  };
  check_rows(read_openai_response, kRows);
}

TEST(OpenaiResponse, WhatIsWrong) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m"})", R"(400: input is required)"},
      {R"({"model":"m","input":[]})", R"(400: input is required)"},
      {R"({"model":"m","input":5})", R"(400: input must be a string or array)"},
      {R"({"model":"m","input":[5]})", R"(400: input[0]: an input item must be an object)"},
      {R"({"model":"m","input":[{}]})", R"(400: input[0]: input item missing required 'type' field)"},
      {R"({"model":"m","input":[{"role":"user","content":"a"},{"role":"user","content":5}]})",
       R"(400: input[1]: invalid message content type: number)"},
      {R"({"model":"m","input":[{"type":"item_reference","id":"x"}]})",
       R"(400: Item with id 'x' not found. Items are kept for a while, and not if `store` is false: send the item itself.)"},
      {R"({"model":"m","input":"Hi","previous_response_id":"r"})", R"(400: Previous response with id 'r' not found.)"},
      {R"({"model":"m","input":"Hi","conversation":"c"})",
       R"(400: conversation is not supported: send the whole conversation, or previous_response_id)"},
      {R"({"model":"m","input":"Hi","background":true})", R"(400: background is not supported)"},
      {R"({"model":"m","input":"Hi","model":5})",
       R"(400: json: cannot unmarshal number into Go struct field ResponsesRequest.model of type string)"},
      {R"({"model":"m","input":"Hi","max_output_tokens":"many"})",
       R"(400: json: cannot unmarshal string into Go struct field ResponsesRequest.max_output_tokens of type int)"},
  };
  check_rows(read_openai_response, kRows);
}

}  // namespace
}  // namespace drover::api
