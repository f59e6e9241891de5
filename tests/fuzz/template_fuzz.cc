#include "fuzz.h"
#include "template/template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using drover::go_template::ChatInputs;
  const auto parsed = drover::go_template::Template::parse(text_of(data, size));
  if (!parsed) return 0;
  parsed->uses("messages");
  parsed->thinking_tags();
  parsed->tool_call_tag();
  ChatInputs inputs;
  inputs.messages = {{"system", "Be brief.", "", {}, "", ""},
                     {"user", "What is 2 + 2?", "", {}, "", ""},
                     {"assistant", "", "Sum.", {{"1", 0, "add", R"({"a":2,"b":[2,null]})"}}, "", ""},
                     {"tool", "4", "", {}, "add", "1"}};
  inputs.tools_json = R"([{"type":"function","function":{"name":"add","parameters":{"type":"object"}}}])";
  inputs.think = true;
  (void)parsed->render_chat(inputs);
  inputs.prompt = "def f(";
  inputs.suffix = "return 1";
  (void)parsed->render_chat(inputs);
  return 0;
}
