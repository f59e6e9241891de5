// Finds the tool calls in the answer of a model whose Go template shows calls as JSON: the template says no more of
// their form than what they begin with, and models differ in the rest. Used by one thread at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace drover {

class JsonCalls {
 public:
  struct Call {
    std::string name;
    std::string arguments_json;
  };

  // `tag`: what a call begins with, as "<tool_call>", "[TOOL_CALLS] [" or "{". `tools_json`: the tools that there are,
  // a JSON array in OpenAI's form; others are never called.
  JsonCalls(std::string_view tag, std::string_view tools_json);

  // Adds text of the answer; `last`: it ends with it. Appends what has become certain: text that is no call to
  // `content`, whole calls to `calls`. A call is a JSON object that names one of the tools, after the tag or at the
  // answer's very beginning, or follows the tag and a name. Any other object is text.
  void push(std::string_view text, bool last, std::string& content, std::vector<Call>& calls);
  // The answer was cut off. What is held back is text, and is dropped if it is a call that had been begun.
  void cut_off(std::string& content);

 private:
  enum class State {
    kBeginning,  // nothing but white space yet
    kText,
    kCalls,
  };
  bool beginning(bool last, std::string& content);
  bool text(bool last, std::string& content);
  bool calls(bool last, std::string& content, std::vector<Call>& calls);
  bool end_object(std::string& content, std::vector<Call>& calls);
  bool read(std::string_view object, Call& call) const;
  bool read_named(std::string_view before, std::string_view object, Call& call) const;
  bool names_tool(std::string_view text) const;
  std::string_view without_marks(std::string_view text) const;

  std::vector<std::string> names_;
  std::string tag_;    // empty: calls are only at the beginning
  std::string close_;  // what would close the tag; empty: nothing
  State state_ = State::kBeginning;
  std::string held_;         // not certain yet
  std::size_t object_ = 0;   // kCalls: where in held_ an object begins
  std::size_t scanned_ = 0;  // kCalls: up to where held_ was looked at
  std::size_t depth_ = 0;    // kCalls: braces that are open
  bool in_string_ = false;
  bool escaped_ = false;
  bool tagged_ = false;  // kCalls: they began with the tag
  bool found_ = false;   // kCalls: there was one
};

}  // namespace drover
