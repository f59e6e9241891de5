// Templates of the shapes that well-known models have, rendered as Ollama renders them. The expected prompts are worked
// out by hand from the rules in template.h.
#include "template/template.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace drover::go_template {
namespace {

Template parsed(std::string_view source) {
  auto result = Template::parse(source);
  if (!result) throw std::runtime_error(result.error().message);
  return *std::move(result);
}

std::string rendered(std::string_view source, const ChatInputs& inputs) {
  const auto prompt = parsed(source).render_chat(inputs);
  return prompt ? *prompt : "error: " + prompt.error().message;
}

Message said(std::string role, std::string content) {
  Message message;
  message.role = std::move(role);
  message.content = std::move(content);
  return message;
}

ChatInputs chat(std::vector<Message> messages) {
  ChatInputs inputs;
  inputs.messages = std::move(messages);
  return inputs;
}

const std::vector<Message> kTalk = {said("system", "Be kind."), said("user", "Hi"), said("assistant", "Hello!"),
                                    said("user", "Who?")};

constexpr const char* kTools = R"([{"type": "function", "function": {"name": "get_weather",
  "description": "Weather <now>", "parameters": {"type": "object", "required": ["city"], "properties": {
    "city": {"type": "string", "description": "Where", "minLength": 2},
    "at": {"type": ["string", "null"], "enum": ["now", "later"]},
    "area": {"type": "object", "properties": {"y": {"type": "number"}, "x": {"type": "number"}}}}}}}])";

// What encoding/json makes of the tool: the properties sorted, those within properties not, unknown fields left out.
constexpr const char* kToolJson =
    R"({"type":"function","function":{"name":"get_weather","description":"Weather \u003cnow\u003e","parameters":)"
    R"({"type":"object","required":["city"],"properties":{"area":{"type":"object","properties":{"y":{"type":"number"},)"
    R"("x":{"type":"number"}}},"at":{"type":["string","null"],"enum":["now","later"]},)"
    R"("city":{"type":"string","description":"Where"}}}}})";

ChatInputs tool_chat() {
  Message call = said("assistant", "");
  call.tool_calls.push_back(
      {"call_1", 0, "get_weather", R"({"days": 1000000, "city": "Oslo", "note": {"b":1,"a":2}})"});
  Message result = said("tool", "cold");
  result.tool_name = "get_weather";
  result.tool_call_id = "call_1";
  ChatInputs inputs = chat({said("user", "Weather?"), call, result});
  inputs.tools_json = kTools;
  return inputs;
}

TEST(ChatTemplate, RendersMessagesInOneExecution) {
  EXPECT_EQ(rendered("{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
                     "<|im_start|>assistant\n",
                     chat(kTalk)),
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
            "Hello!<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, RendersTheSystemInsideTheFirstUserTurn) {
  constexpr const char* kGemmaShape = R"({{- $system := .System }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<turn>user
{{- if and (eq $i 1) $system }}
{{ $system }}

{{ end }}
{{ .Content }}</turn>
{{ else if eq .Role "assistant" }}<turn>model
{{ .Content }}</turn>
{{ end }}
{{- if $last }}<turn>model
{{ end }}
{{- end }})";
  EXPECT_EQ(rendered(kGemmaShape, chat(kTalk)),
            "<turn>user\nBe kind.\n\n\nHi</turn>\n<turn>model\nHello!</turn>\n<turn>user\nWho?</turn>\n<turn>model\n");
}

TEST(ChatTemplate, JoinsWhatOneRoleSaysInARow) {
  constexpr const char* kShow = "[{{ .System }}]{{ range .Messages }}{{ .Role }}={{ .Content }};{{ end }}";
  EXPECT_EQ(rendered(kShow, chat({said("system", "A"), said("system", "B"), said("user", "1"), said("user", "2"),
                                  said("tool", "x"), said("tool", "y"), said("system", "C")})),
            "[A\n\nB\n\nC]system=A\n\nB;user=1\n\n2;tool=x;tool=y;system=C;");
  EXPECT_EQ(rendered(kShow, chat({})), "[]");
}

// {{ .Response }} is where the model goes on: written for past turns, and what follows it is left out of the last.
TEST(ChatTemplate, ExecutesTemplatesWithoutMessagesForEachTurn) {
  constexpr const char* kPhiShape =
      "{{ if .System }}<|system|>{{ .System }}<|end|>{{ end }}{{ if .Prompt }}<|user|>{{ .Prompt }}<|end|>{{ end }}"
      "<|assistant|>{{ .Response }}<|end|>";
  EXPECT_EQ(rendered(kPhiShape, chat(kTalk)),
            "<|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>Hello!<|end|><|user|>Who?<|end|><|assistant|>");
  // The answer is begun already: it is continued.
  EXPECT_EQ(rendered(kPhiShape, chat({said("user", "Hi"), said("assistant", "Hel")})),
            "<|user|>Hi<|end|><|assistant|>Hel");
  // A system message in the middle ends the turn before it.
  EXPECT_EQ(rendered(kPhiShape, chat({said("user", "Hi"), said("system", "New."), said("user", "Yo")})),
            "<|user|>Hi<|end|><|assistant|><|end|><|system|>New.<|end|><|user|>Yo<|end|><|assistant|>");
  EXPECT_EQ(rendered(kPhiShape, chat({})), "<|assistant|>");
}

TEST(ChatTemplate, AppendsTheResponseWhereATemplateHasNone) {
  constexpr const char* kMistralShape = "[INST] {{ if .System }}{{ .System }}\n\n{{ end }}{{ .Prompt }}[/INST] ";
  EXPECT_EQ(rendered(kMistralShape, chat(kTalk)), "[INST] Be kind.\n\nHi[/INST] Hello![INST] Who?[/INST] ");
  EXPECT_EQ(rendered("{{ .Prompt }}", chat(kTalk)), "HiHello!Who?");
  EXPECT_TRUE(parsed("{{ .Prompt }}").uses("Response"));
  EXPECT_FALSE(parsed("{{ .Messages }}").uses("response"));
}

TEST(ChatTemplate, CutsTheLastTurnAfterTheResponse) {
  const ChatInputs inputs = chat({said("user", "Q")});
  EXPECT_EQ(rendered("{{ .Prompt }}|{{ if .Prompt }}A{{ .Response }}B{{ else }}C{{ end }}D", inputs), "Q|A");
  EXPECT_EQ(rendered("{{ if .Response }}x{{ end }}{{ .Prompt }}{{ .Response }}y", inputs), "Q");
  EXPECT_EQ(rendered("{{ print .Prompt .Response \"z\" }}y", inputs), "Q");
  EXPECT_EQ(rendered("{{ .Prompt }}{{ $.Response }}y", inputs), "Qy");  // only the field itself is looked for
}

TEST(ChatTemplate, FillsInTheMiddle) {
  constexpr const char* kCodeShape =
      "{{- if .Suffix }}<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>{{ else }}{{ .Prompt }}{{ end }}";
  ChatInputs inputs = chat({said("user", "not this")});
  inputs.prompt = "def f(";
  inputs.suffix = "return 1";
  EXPECT_EQ(rendered(kCodeShape, inputs), "<PRE> def f( <SUF>return 1 <MID>");
  inputs.suffix.clear();
  EXPECT_EQ(rendered(kCodeShape, inputs), "not this");
  EXPECT_TRUE(parsed(kCodeShape).uses("Suffix"));
}

TEST(ChatTemplate, WritesToolsAndCallsAsJson) {
  EXPECT_EQ(rendered("{{ .Tools }}{{ range .Messages }}{{ end }}", tool_chat()), std::string("[") + kToolJson + "]");
  EXPECT_EQ(rendered("{{ range .Messages }}{{ end }}{{ range $.Tools }}{{ . }}{{ end }}", tool_chat()), kToolJson);
  EXPECT_EQ(
      rendered("{{ range .Messages }}{{ range .ToolCalls }}{{ .ID }} {{ .Function.Name }}({{ .Function.Arguments }})"
               " {{ json .Function.Arguments.note }}{{ end }}{{ .ToolName }}{{ .ToolCallID }}{{ end }}",
               tool_chat()),
      R"(call_1 get_weather({"city":"Oslo","days":1000000,"note":{"a":2,"b":1}}) {"a":2,"b":1}get_weathercall_1)");
  EXPECT_EQ(
      rendered("{{ range .Messages }}{{ range .ToolCalls }}{{ range $k, $v := .Function.Arguments }}{{ $k }}={{ $v }},"
               "{{ end }}{{ end }}{{ end }}",
               tool_chat()),
      "city=Oslo,days=1e+06,note=map[a:2 b:1],");
}

TEST(ChatTemplate, RendersAQwenLikeToolTemplate) {
  constexpr const char* kQwenShape = R"({{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}

<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }})";
  const std::string tool(kToolJson);
  const std::size_t function = tool.find("{\"name\"");
  EXPECT_EQ(rendered(kQwenShape, tool_chat()),
            "<|im_start|>system\n\n<tools>\n{\"type\": \"function\", \"function\": " +
                tool.substr(function, tool.size() - function - 1) +
                "}\n</tools><|im_end|>\n<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
                R"({"name": "get_weather", "arguments": {"city":"Oslo","days":1000000,"note":{"a":2,"b":1}}})"
                "\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\ncold\n</tool_response><|im_end|>\n"
                "<|im_start|>assistant\n");
  EXPECT_EQ(parsed(kQwenShape).tool_call_tag(), "<tool_call>");
  EXPECT_TRUE(parsed(kQwenShape).uses("tools"));
  EXPECT_FALSE(parsed(kQwenShape).thinking_tags());
}

TEST(ChatTemplate, RendersACommandRLikeToolTemplate) {
  constexpr const char* kCommandShape = R"({{ range .Tools }}def {{ .Function.Name }}(
{{- range $name, $property := .Function.Parameters.Properties }}{{ $name }}: {{ $property.Type }}, {{ end }})
{{- range $name, $property := .Function.Parameters.Properties }}
  {{ $name }} {{ toTypeScriptType $property }} {{ $property.Description }}.
{{- end }}
{{ end }}{{ range .Messages }}
{{- if eq .Role "system" "tool" }}{{ continue }}{{ end }}{{ .Role }};{{ end }})";
  EXPECT_EQ(rendered(kCommandShape, tool_chat()),
            "def get_weather(area: object, at: [string null], city: string, )\n"
            "  area Record<string, any> .\n  at string | null .\n  city string Where.\nuser;assistant;");
}

TEST(ChatTemplate, ShowsToolsThatSayLittle) {
  ChatInputs inputs = chat({said("user", "Q")});
  constexpr const char* kShow =
      "{{ range .Messages }}{{ end }}{{ json .Tools }} {{ .Tools }}{{ if .Tools }} yes{{ end }}";
  EXPECT_EQ(rendered(kShow, inputs), "null null");
  inputs.tools_json = "[]";
  EXPECT_EQ(rendered(kShow, inputs), "[] []");
  inputs.tools_json = R"([{}])";
  constexpr const char* kEmptyTool =
      R"([{"type":"","function":{"name":"","description":"","parameters":{"type":"","properties":null}}}])";
  EXPECT_EQ(rendered(kShow, inputs), std::string(kEmptyTool) + " " + kEmptyTool + " yes");
  inputs.tools_json = R"([{"function":{"parameters":{"$defs":{"b":1,"a":2},"properties":{
      "x":{"anyOf":[{"type":"string"},{"type":"integer"}],"items":{"type":"null"}}, "y":{"type":[]}}}}}])";
  EXPECT_EQ(rendered("{{ range .Messages }}{{ end }}{{ range .Tools }}{{ json .Function.Parameters }}"
                     "{{ with .Function.Parameters.Properties }}{{ toTypeScriptType .x }}/{{ toTypeScriptType .y }}{{ "
                     "end }}{{ end }}",
                     inputs),
            R"({"type":"","$defs":{"a":2,"b":1},"properties":{"x":{"anyOf":[{"type":"string"},{"type":"integer"}],)"
            R"("items":{"type":"null"}},"y":{}}}string | number/any)");
}

TEST(ChatTemplate, SaysWhatIsWrongWithTheInputs) {
  ChatInputs inputs = tool_chat();
  const auto message = [&] { return rendered("{{ range .Messages }}{{ end }}", inputs); };
  EXPECT_EQ(message(), "");
  inputs.tools_json = "{}";
  EXPECT_EQ(message(), "error: tools must be a list");
  inputs.tools_json = "[1]";
  EXPECT_EQ(message(), "error: tools[0] must be an object");
  inputs.tools_json = "[{]";
  EXPECT_EQ(message(), "error: tools: invalid JSON at byte 3");
  inputs.tools_json = R"([{"function":{"parameters":{"properties":{"x":{"type":[1]}}}}}])";
  EXPECT_EQ(message(), "error: tools[0].function.parameters.properties.x.type must be a list of strings");
  inputs.tools_json.clear();
  inputs.messages[1].tool_calls[0].arguments_json = "[]";
  EXPECT_EQ(message(), "error: the arguments of the tool call get_weather are not a JSON object");
}

TEST(ChatTemplate, TellsWhetherToThink) {
  constexpr const char* kShow = "{{ range .Messages }}{{ end }}{{ .Think }} {{ .ThinkLevel }} {{ .IsThinkSet }}";
  ChatInputs inputs = chat({said("user", "Q")});
  EXPECT_EQ(rendered(kShow, inputs), "false  false");
  inputs.think = false;
  EXPECT_EQ(rendered(kShow, inputs), "false  true");
  inputs.think = true;
  inputs.think_level = "high";
  EXPECT_EQ(rendered(kShow, inputs), "true high true");
  EXPECT_EQ(rendered("{{ .Prompt }}{{ if .Think }}!{{ end }}{{ .Response }}", inputs), "Q!");
}

TEST(ChatTemplate, InfersThinkingTags) {
  const auto tags = [](std::string_view source) {
    const auto found = parsed(source).thinking_tags();
    return found ? found->open + " " + found->close : "none";
  };
  EXPECT_EQ(tags("{{ range .Messages }}{{ if .Thinking }}\n <think>{{ .Thinking }}</think> {{ end }}{{ end }}"),
            "<think> </think>");
  EXPECT_EQ(tags("{{ range $i, $_ := .Messages }}{{ if and $i .Thinking }}a  {{ .Thinking }}  b{{ end }}{{ end }}"),
            "a b");
  // Not in a range over the messages, or not between texts.
  EXPECT_EQ(tags("<think>{{ .Thinking }}</think>"), "none");
  EXPECT_EQ(tags("{{ range .Messages }}{{ range .Others }}<t>{{ .Thinking }}</t>{{ end }}{{ end }}"), "none");
  EXPECT_EQ(tags("{{ range .Messages }}<t>{{ .Thinking }}{{ end }}"), "none");
  EXPECT_EQ(tags("{{ range .Messages }}{{ .Content }}{{ end }}"), "none");
}

TEST(ChatTemplate, InfersTheToolCallTag) {
  const auto tag = [](std::string_view source) { return parsed(source).tool_call_tag(); };
  EXPECT_EQ(tag("{{ range .Messages }}{{ if .Content }}x{{ else if .ToolCalls }}[TOOL_CALLS] [{{ end }}{{ end }}"),
            "[TOOL_CALLS] [");
  EXPECT_EQ(tag("{{ if .ToolCalls }}{{ range .ToolCalls }}<call>{\"name\"{{ end }}{{ end }}"), "<call>");
  EXPECT_EQ(tag("{{ if .ToolCalls }}{{ range .ToolCalls }}{\"name\"{{ end }}{{ end }}"), "{");
  EXPECT_EQ(tag("{{ if .ToolCalls }}{{ .X }}<call>{{ end }}"), "{");
  EXPECT_EQ(tag("{{ .Prompt }}"), "{");
}

TEST(ChatTemplate, KnowsItsNames) {
  const Template chat_template =
      parsed("{{ define \"x\" }}{{ .Suffix }}{{ end }}{{ with $m := (index .Messages 0).Role }}{{ end }}");
  EXPECT_TRUE(chat_template.uses("messages"));
  EXPECT_TRUE(chat_template.uses("Suffix"));
  EXPECT_TRUE(chat_template.uses("role"));
  EXPECT_FALSE(chat_template.uses("index"));
  EXPECT_FALSE(chat_template.uses("tools"));
}

TEST(ChatTemplate, NamesFieldsThatMessagesDoNotHave) {
  EXPECT_EQ(rendered("{{ range .Messages }}{{ .Rol }}{{ end }}", chat(kTalk)),
            "error: template: :1:24: executing \"\" at <.Rol>: can't evaluate field Rol in type Message");
  EXPECT_EQ(
      rendered("{{ json (index .Messages 1) }}", chat(kTalk)),
      R"({"Role":"user","Content":"Hi","Thinking":"","Images":null,"ToolCalls":null,"ToolName":"","ToolCallID":""})");
}

TEST(ChatTemplate, MayBeUsedAfterACopyOutlivesTheFirst) {
  auto first = std::make_unique<Template>(parsed("{{ range .Messages }}{{ .Content }}{{ end }}"));
  const Template second = *first;
  first.reset();
  EXPECT_EQ(*second.render_chat(chat(kTalk)), "Be kind.HiHello!Who?");
  EXPECT_EQ(second.source(), "{{ range .Messages }}{{ .Content }}{{ end }}");
}

}  // namespace
}  // namespace drover::go_template
