// Finds tool calls in the answer of a model whose Go template shows calls as JSON. The template shows only how calls
// begin; models differ in the rest. Used by one thread at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace drover {

// A text that was cut off may end with the beginning of a call's tag. From so many bytes on it is taken for that, and
// left out; one byte of it, such as "<", may be anything.
constexpr std::size_t kBeginningBytesMin = 2;

class JsonCalls {
 public:
  struct Call {
    std::string name;
    std::string arguments_json;
  };

  // `tag`: the beginning of a call, such as "<tool_call>", "[TOOL_CALLS] [" or "{". `tools_json`: the tools, a JSON
  // array in OpenAI's form; a call of another name is text.
  JsonCalls(std::string_view tag, std::string_view tools_json);

  // Adds text of the answer; `last`: its last text. Appends what is final now: text to `content`, whole calls to
  // `calls`. A call is a JSON object that names one of the tools, after the tag or at the very beginning of the answer,
  // or an object that follows the tag and a name. Any other object is text.
  void push(std::string_view text, bool last, std::string& content, std::vector<Call>& calls);
  // The answer was cut off. Held text is content, unless it is an unfinished call, which is dropped.
  void cut_off(std::string& content);

 private:
  enum class State {
    kBeginning,  // only white space so far
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
  std::string close_;  // the closing tag; empty: none
  State state_ = State::kBeginning;
  std::string held_;         // not final yet
  std::size_t object_ = 0;   // kCalls: where an object begins in held_
  std::size_t scanned_ = 0;  // kCalls: bytes of held_ that were scanned
  std::size_t depth_ = 0;    // kCalls: open braces
  bool in_string_ = false;
  bool escaped_ = false;
  bool tagged_ = false;  // kCalls: the calls began with the tag
  bool found_ = false;   // kCalls: there was one
};

}  // namespace drover
