// Chat templates in Go's text/template language, rendered as Ollama renders them.
//
// A Template is immutable and cheap to copy; any thread may use one, and several may use it at once. Rendering takes
// no locks and, whatever the template, ends: see Budget in template/executor.h and the limits in template/parser.h.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drover::go_template {

struct ToolCall {
  std::string id;
  int index = 0;
  std::string name;
  std::string arguments_json;  // a JSON object; empty: none
};

struct Message {
  std::string role;  // in lower case
  std::string content;
  std::string thinking;
  std::vector<ToolCall> tool_calls;
  std::string tool_name;
  std::string tool_call_id;
};

struct ChatInputs {
  std::vector<Message> messages;
  std::string tools_json;  // a JSON array as in Ollama's API; empty: none
  // With both, the messages are left out and the template fills in between the two.
  std::string prompt;
  std::string suffix;
  std::optional<bool> think;  // nothing: the client did not say
  std::string think_level;
  std::chrono::system_clock::time_point now;  // for currentDate, in the machine's time zone
};

struct ThinkingTags {
  std::string open;
  std::string close;
};

class Template {
 public:
  // Error: kInvalidArgument with Go's words, as in `template: :3: unexpected "}" in operand`.
  static Result<Template> parse(std::string_view source);

  // The prompt. A template that uses .Messages is executed once; another once for each turn, with .System, .Prompt and
  // .Response, the last time only up to where the response begins. Error: kInvalidArgument if the template asks for
  // what is not there or the inputs hold wrong JSON; kTooLarge if it wants too many steps or too much text.
  Result<std::string> render_chat(const ChatInputs& inputs) const;

  // Whether any field or variable in it has this name, whatever the case: "tools", "suffix", "messages", "thinking", ….
  bool uses(std::string_view name) const;

  // The marks between which it puts a message's thinking, if it does and both are there.
  std::optional<ThinkingTags> thinking_tags() const;

  // What a tool call begins with in the model's answer; "{" if the template does not say.
  const std::string& tool_call_tag() const;

  const std::string& source() const;

 private:
  struct Parsed;
  explicit Template(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}

  std::shared_ptr<const Parsed> parsed_;
};

}  // namespace drover::go_template
