#include "api/ollama_request.h"

#include "api/ask_fixture.h"

namespace drover::api {
namespace {

TEST(OllamaGenerate, WhatIsAsked) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","prompt":"Hi"})", R"(m stream prompt="Hi" want_tokens)"},
      {R"({"model":"m","prompt":"Hi","stream":false})", R"(m prompt="Hi" want_tokens)"},
      {R"({"MODEL":"m","Prompt":"Hi"})", R"(m stream prompt="Hi" want_tokens)"},
      {R"({"model":"m"})", R"(m stream load prompt="" want_tokens)"},
      {R"({"model":"m","keep_alive":0,"options":5})", R"(m stream load keep_alive=0 prompt="")"},
      {R"({"model":"m","prompt":"Hi","keep_alive":"5m"})", R"(m stream keep_alive=300 prompt="Hi" want_tokens)"},
      {R"({"model":"m","prompt":"Hi","keep_alive":"30"})", R"(m stream keep_alive=30 prompt="Hi" want_tokens)"},
      {R"({"model":"m","prompt":"Hi","keep_alive":-1})", R"(m stream keep_alive=ever prompt="Hi" want_tokens)"},
      {R"({"model":"m","prompt":"a","suffix":"b"})", R"(m stream prompt="a" suffix="b" want_tokens)"},
      {R"({"model":"m","prompt":"a","suffix":"b","context":["x"]})", R"(m stream prompt="a" suffix="b" want_tokens)"},
      {R"({"model":"m","prompt":"a","system":"s","template":"t","context":[1,2]})",
       R"(m stream prompt="a" system="s" template="t" context=1,2 want_tokens)"},
      {R"({"model":"m","prompt":"a","raw":true})", R"(m stream prompt="a" raw)"},
      {R"({"model":"m","prompt":"a","options":{"temperature":0,"num_ctx":512.9,"seed":null,"warmth":5}})",
       R"(m stream prompt="a" options={"temperature":0.0,"num_ctx":512} want_tokens)"},
      {R"({"model":"m","prompt":"a","think":true})", R"(m stream prompt="a" think=on want_tokens)"},
      {R"({"model":"m","prompt":"a","think":"high"})", R"(m stream prompt="a" think=on:high want_tokens)"},
      {R"({"model":"m","prompt":"a","think":false})", R"(m stream prompt="a" think=off want_tokens)"},
      {R"({"model":"m","prompt":"a","format":"json"})", R"(m stream prompt="a" format=json want_tokens)"},
      {R"({"model":"m","prompt":"a","format":""})", R"(m stream prompt="a" want_tokens)"},
      {R"({"model":"m","prompt":"a","format":{"type":"integer"}})",
       R"(m stream prompt="a" format={"type":"integer"} want_tokens)"},
      {R"({"model":"m","prompt":"a","truncate":false,"shift":false,"_debug_render_only":true})",
       R"(m stream prompt="a" no_truncate no_shift render_only want_tokens)"},
      {R"({"model":"m","prompt":"a","logprobs":true,"top_logprobs":3})",
       R"(m stream prompt="a" want_tokens logprobs=3)"},
      {R"({"prompt":"Hi"})", R"( stream prompt="Hi" want_tokens)"},
  };
  check_rows(read_ollama_generate, kRows);
}

TEST(OllamaGenerate, WhatIsWrong) {
  constexpr BodyRow kRows[] = {
      {R"({"model":5})",
       "400: json: cannot unmarshal number into Go struct field GenerateRequest.model of type string"},
      {R"({"model":"m","prompt":["a"]})",
       "400: json: cannot unmarshal array into Go struct field GenerateRequest.prompt of type string"},
      {R"({"model":"m","prompt":"a","stream":"no"})",
       "400: json: cannot unmarshal string into Go struct field GenerateRequest.stream of type bool"},
      {R"({"model":"m","prompt":"a","raw":1})",
       "400: json: cannot unmarshal number into Go struct field GenerateRequest.raw of type bool"},
      {R"({"model":"m","prompt":"a","keep_alive":{}})",
       "400: keep_alive must be a number of seconds or a duration string"},
      {R"({"model":"m","prompt":"a","keep_alive":"soon"})", "400: time: invalid duration \"soon\""},
      {R"({"model":"m","prompt":"a","options":[]})",
       "400: json: cannot unmarshal options into Go struct field of type map[string]interface {}"},
      {R"({"model":"m","prompt":"a","options":{"num_ctx":"4k"}})", "400: option \"num_ctx\" must be of type integer"},
      {R"({"model":"m","prompt":"a","options":{"num_thread":513}})", "400: option \"num_thread\" must be at most 512"},
      {R"({"model":"m","prompt":"a","format":"xml"})",
       "400: invalid format: \"xml\"; expected \"json\" or a valid JSON Schema object"},
      {R"({"model":"m","prompt":"a","think":"hard"})",
       "400: invalid think value: \"hard\" (must be \"high\", \"medium\", \"low\", \"max\", true, or false)"},
      {R"({"model":"m","prompt":"a","think":5})",
       "400: think must be a boolean or string (\"high\", \"medium\", \"low\", \"max\", true, or false)"},
      {R"({"model":"m","prompt":"a","top_logprobs":21})", "400: top_logprobs must be between 0 and 20"},
      {R"({"model":"m","prompt":"a","images":["eA=="]})", "400: image input is not supported yet"},
      {R"({"model":"m","prompt":"a","context":"x"})",
       "400: json: cannot unmarshal string into Go struct field GenerateRequest.context of type array"},
      {R"({"model":"m","prompt":"a","context":[1.5]})",
       "400: json: cannot unmarshal into Go struct field GenerateRequest.context of type int"},
      {R"({"model":"m","prompt":"a","raw":true,"system":"s"})",
       "400: raw mode does not support template, system, or context"},
      {R"({"model":"m","prompt":"a","raw":true,"context":[1]})",
       "400: raw mode does not support template, system, or context"},
  };
  check_rows(read_ollama_generate, kRows);
}

TEST(OllamaChat, WhatIsAsked) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","messages":[{"role":"User","content":"Hi"}]})", R"(m stream user"Hi")"},
      {R"({"model":"m","messages":[]})", "m stream load"},
      {R"({"model":"m","keep_alive":0})", "m stream load keep_alive=0"},
      {R"({"model":"m","messages":[{"role":"assistant","content":"","thinking":"hm","tool_calls":[
           {"id":"1","function":{"name":"f","arguments":{"a":1}}},{"function":{"name":"g","arguments":"{\"b\":2}"}}]},
           {"role":"tool","content":"3","tool_name":"f","tool_call_id":"1"}]})",
       R"(m stream assistant""~"hm" call(1,f,{"a":1}) call(,g,{"b":2}) tool"3" of(1,f))"},
      {R"({"model":"m","messages":[{"role":"user"}],"tools":[{"type":"function","function":{"name":"f"}}]})",
       R"(m stream user"" tools=f)"},
      {R"({"model":"m","messages":[{"role":"user"}],"tools":[],"tool_choice":"perhaps"})", R"(m stream user"")"},
      {R"({"model":"m","messages":[{"role":"user"}],"tools":[{"type":"function","function":{"name":"f"}}],
           "tool_choice":"none"})",
       R"(m stream user"" hidden_tools)"},
      {R"({"model":"m","messages":[{"role":"user"}],"tools":[{"type":"function","function":{"name":"f"}},
           {"type":"function","function":{"name":"g"}}],"parallel_tool_calls":false,
           "tool_choice":{"type":"function","function":{"name":"g"}}})",
       R"(m stream user"" tools=g required one_call)"},
      {R"({"model":"m","messages":[{"role":"user","content":"x","images":[]}],"think":null,"format":null})",
       R"(m stream user"x")"},
  };
  check_rows(read_ollama_chat, kRows);
}

TEST(OllamaChat, WhatIsWrong) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","messages":"x"})",
       "400: json: cannot unmarshal string into Go struct field ChatRequest.messages of type array"},
      {R"({"model":"m","messages":[5]})",
       "400: json: cannot unmarshal a message into Go struct field ChatRequest.messages of type api.Message"},
      {R"({"model":"m","messages":[{"role":5}]})",
       "400: json: cannot unmarshal number into Go struct field Message.role of type string"},
      {R"({"model":"m","messages":[{"role":"user","content":"x","images":["eA=="]}]})",
       "400: image input is not supported yet"},
      {R"({"model":"m","messages":[{"role":"assistant","tool_calls":[5]}]})",
       "400: json: tool_calls must hold objects with a function"},
      {R"({"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"name":5}}]}]})",
       "400: json: cannot unmarshal number into Go struct field ToolCallFunction.name of type string"},
      {R"({"model":"m","messages":[{"role":"user"}],"tools":"all"})",
       "400: json: cannot unmarshal string into Go struct field ChatRequest.tools of type array"},
      {R"({"model":"m","messages":[{"role":"user"}],"tools":[5]})", "400: a tool must be an object"},
      {R"({"model":"m","messages":[{"role":"user"}],"tools":[{"type":"function","function":{"name":"f"}}],
           "tool_choice":"perhaps"})",
       "400: invalid tool_choice: it takes \"auto\", \"none\", \"required\" or an object that names a function"},
      {R"({"model":"m","messages":[{"role":"user"}],"tools":[{"type":"function","function":{"name":"f"}}],
           "tool_choice":{"type":"function","function":{"name":"g"}}})",
       "400: tool_choice names \"g\", which is not among the tools"},
  };
  check_rows(read_ollama_chat, kRows);
}

}  // namespace
}  // namespace drover::api
