#include "api/openai_request.h"

#include "api/ask_fixture.h"

namespace drover::api {
namespace {

TEST(OpenaiChat, WhatIsAsked) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}]})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true}})",
       R"(m stream user"Hi" options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"temperature":0.5,"top_p":0.9,"max_tokens":5,"seed":7,"stop":"x"})",
       R"(m user"Hi" options={"temperature":0.5,"top_p":0.9,"seed":7,"num_predict":5,"stop":["x"]})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"max_tokens":5,"max_completion_tokens":6})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0,"num_predict":6})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"options":{"num_ctx":512,"top_k":9},"top_k":3})",
       R"(m user"Hi" options={"num_ctx":512,"top_k":3,"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"repetition_penalty":1.5})",
       R"(m user"Hi" options={"repeat_penalty":1.5,"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"n_predict":4})",
       R"(m user"Hi" options={"num_predict":4,"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"keep_alive":"1m","truncate":false,"shift":false,"_debug_render_only":true})",
       R"(m keep_alive=60 user"Hi" options={"temperature":1.0,"top_p":1.0} no_truncate no_shift render_only)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"logprobs":true,"top_logprobs":2})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} logprobs=2)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"user":"u","logit_bias":{"1":2}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} warns: logit_bias is ignored)"},
  };
  check_rows(read_openai_chat, kRows);
}

TEST(OpenaiChat, Messages) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","messages":[{"role":"developer","content":"Be brief."},{"role":"User","content":"Hi"}]})",
       R"(m system"Be brief." user"Hi" options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]})",
       R"(m user"a\nb" options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"assistant","content":null,"reasoning":"hm","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"1","content":"3"}]})",
       R"(m assistant""~"hm" call(1,f,{"a":1}) tool"3" of(1,f) options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"custom","custom":{"name":"patch","input":"x"}}]}]})",
       R"(m assistant"" call(1,patch,{"input":"x"}) options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"assistant","content":null,"refusal":"No."}]})",
       R"(m assistant"No." options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"tool","tool_call_id":"9","content":[{"type":"image_url"}]}]})",
       R"(m tool"[an image, which is not shown to the model]" of(9,) options={"temperature":1.0,"top_p":1.0} warns: content parts of the type "image_url" are left out)"},
      {R"({"model":"m","messages":[{"role":"tool","tool_call_id":"9","name":"g","content":{"sunny":true}}]})",
       R"(m tool"{\"sunny\":true}" of(9,g) options={"temperature":1.0,"top_p":1.0})"},
  };
  check_rows(read_openai_chat, kRows);
}

TEST(OpenaiChat, Thinking) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"reasoning_effort":"low"})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} think=on:low)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"reasoning_effort":"minimal"})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} think=on:low)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"reasoning_effort":"none"})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} think=off)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"reasoning":{"effort":"ultra"}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} think=on:max)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"reasoning":{"enabled":true}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} think=on)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"think":"high"})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} think=on:high)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"enable_thinking":true})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} think=on?)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"thinking":{"type":"disabled"}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} think=off?)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"chat_template_kwargs":{"enable_thinking":false}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} think=off?)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"reasoning_effort":"low","think":false})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} think=on:low)"},
  };
  check_rows(read_openai_chat, kRows);
}

TEST(OpenaiChat, FormatsAndTools) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"response_format":{"type":"text"}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"response_format":{"type":"json_object"}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} format=json)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"response_format":{"type":"json_object","schema":{"type":"integer"}}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} format={"type":"integer"})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"integer"}}}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} format={"type":"integer"})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"guided_json":"{\"type\":\"integer\"}"})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} format={"type":"integer"})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"guided_choice":["a","b"]})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} format={"enum":["a","b"]})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"structured_outputs":{"json_object":true,"regex":"x"}})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} format=json warns: structured_outputs.regex is ignored)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required","parallel_tool_calls":false})",
       R"(m user"Hi" tools=f required one_call options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","name":"f"}})",
       R"(m user"Hi" tools=f required options={"temperature":1.0,"top_p":1.0})"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} hidden_tools)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"web_search"}]})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} warns: tools of the type "web_search" are left out)"},
  };
  check_rows(read_openai_chat, kRows);
}

TEST(OpenaiChat, WhatIsWrong) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","messages":[]})", R"(400: [] is too short - 'messages')"},
      {R"({"model":"m","messages":"Hello"})",
       R"(400: json: cannot unmarshal string into Go struct field ChatCompletionRequest.messages of type array)"},
      {R"({"model":"m","messages":[5]})", R"(400: invalid message format)"},
      {R"({"model":"m","messages":[{"role":"user"}]})", R"(400: invalid message content type: <nil>)"},
      {R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]})",
       R"(400: image input is not supported yet)"},
      {R"({"model":"m","messages":[{"role":"user","content":[{"type":"video_url"}]}]})",
       R"(400: content parts of the type "video_url" are not supported)"},
      {R"({"model":"m","messages":[{"role":"assistant","tool_calls":[{}]}]})", R"(400: invalid tool call)"},
      {R"({"model":5,"messages":[{"role":"user","content":"Hi"}]})",
       R"(400: json: cannot unmarshal number into Go struct field ChatCompletionRequest.model of type string)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"max_tokens":"many"})",
       R"(400: json: cannot unmarshal string into Go struct field ChatCompletionRequest.max_tokens of type int)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"max_tokens":3000000000})",
       R"(400: max_tokens: option "num_predict" must be at most 2147483647)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"temperature":"hot"})",
       R"(400: json: cannot unmarshal string into Go struct field ChatCompletionRequest.temperature of type float64)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":"yes"})",
       R"(400: json: cannot unmarshal string into Go struct field ChatCompletionRequest.stream of type bool)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"stop":5})",
       R"(400: json: cannot unmarshal number into Go struct field ChatCompletionRequest.stop of type array)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"top_k":"x"})",
       R"(400: option "top_k" must be of type integer)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"options":{"num_ctx":"x"}})",
       R"(400: option "num_ctx" must be of type integer)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"repetition_penalty":[]})",
       R"(400: repetition_penalty: option "repeat_penalty" must be of type float32)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"n":2})",
       R"(400: n must be 1: more than one choice is not supported)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"modalities":["audio"]})",
       R"(400: audio output is not supported)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"top_logprobs":21})",
       R"(400: top_logprobs must be between 0 and 20)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"reasoning_effort":"enormous"})",
       R"(400: invalid reasoning value: 'enormous' (must be "high", "medium", "low", "max", or "none"))"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"response_format":{"type":"xml"}})",
       R"(400: invalid response_format type: 'xml' (must be text, json_object or json_schema))"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"response_format":{"type":"json_schema"}})",
       R"(400: response_format of the type json_schema needs a schema, which is an object)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"guided_choice":"maybe"})",
       R"(400: guided_choice must be a list of texts)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"guided_json":"no schema"})",
       R"(400: guided_json must be a JSON schema, which is an object)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"structured_outputs":5})",
       R"(400: json: cannot unmarshal number into Go struct field ChatCompletionRequest.structured_outputs of type object)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"guided_choice":["a"],"response_format":{"type":"json_object"}})",
       R"(400: only one of response_format, json_schema, guided_json, guided_choice and structured_outputs can be kept)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"tools":"all"})",
       R"(400: json: cannot unmarshal string into Go struct field ChatCompletionRequest.tools of type array)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"perhaps"})",
       R"(400: invalid tool_choice: it takes "auto", "none", "required" or an object that names a function)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"g"}}})",
       R"(400: tool_choice names "g", which is not among the tools)"},
  };
  check_rows(read_openai_chat, kRows);
}

TEST(OpenaiCompletion, WhatIsAsked) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","prompt":"a"})", R"(m prompt="a" options={"temperature":1.0,"top_p":1.0} think=off)"},
      {R"({"model":"m","prompt":["a"],"suffix":"b","stream":true})",
       R"(m stream prompt="a" suffix="b" options={"temperature":1.0,"top_p":1.0} think=off)"},
      {R"({"model":"m","prompt":"a","logprobs":2})",
       R"(m prompt="a" options={"temperature":1.0,"top_p":1.0} think=off logprobs=2)"},
      {R"({"model":"m","keep_alive":0})",
       R"(m load keep_alive=0 prompt="" options={"temperature":1.0,"top_p":1.0} think=off)"},
  };
  check_rows(read_openai_completion, kRows);
}

TEST(OpenaiCompletion, WhatIsWrong) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","prompt":["a","b"]})",
       R"(400: prompt must be one string: lists of prompts and of tokens are not supported)"},
      {R"({"model":"m","prompt":"a","echo":true})", R"(400: echo is not supported)"},
      {R"({"model":"m","prompt":"a","best_of":2})", R"(400: best_of is not supported)"},
      {R"({"model":"m","prompt":"a","logprobs":21})", R"(400: logprobs must be between 0 and 20)"},
      {R"({"model":"m","prompt":"a","num_ctx":"x"})", R"(400: option "num_ctx" must be of type integer)"},
  };
  check_rows(read_openai_completion, kRows);
}

}  // namespace
}  // namespace drover::api
