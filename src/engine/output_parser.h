// Parses a model's output as it comes: whole UTF-8 characters, stop strings, thinking, tool calls. Used by one thread
// at a time. Independent of the engine, so it can be tested alone.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/chat_template.h"
#include "engine/json_calls.h"

namespace drover {

struct ParsedToolCall {
  std::string id;
  std::string name;
  std::string arguments_json;
};

// Output that became final in the last call.
struct OutputPiece {
  std::string content;
  std::string thinking;
  std::vector<ParsedToolCall> tool_calls;
  bool empty() const { return content.empty() && thinking.empty() && tool_calls.empty(); }
};

class OutputParser {
 public:
  OutputParser(OutputSyntax syntax, std::vector<std::string> stops);
  OutputParser(OutputParser&&) noexcept;
  ~OutputParser();

  // Adds the bytes of a token. Text is held back while it may be the start of a stop string or of a tag, or is an
  // incomplete character. Returns true once a stop string was found; it and the text after it are dropped.
  bool push(std::string_view bytes, OutputPiece& out);
  // The output has ended: held text is final now. An incomplete character is dropped. `cut_off`: the model did not end
  // the output itself. Then an unfinished call is dropped; otherwise it is text.
  void finish(bool cut_off, OutputPiece& out);

  // Bytes that llama.cpp's parser has read in all its calls: the cost of the output.
  std::size_t parsed_bytes() const;

 private:
  class ThinkingSplitter;
  class ContentGate;
  class TemplateParser;
  enum class End { kNotYet, kByModel, kCutOff };
  void pass(std::string_view text, End end, OutputPiece& out);
  void take_calls(End end, OutputPiece& out);

  OutputSyntax syntax_;
  std::vector<std::string> stops_;
  std::string held_;  // bytes that are not final yet
  bool stopped_ = false;
  std::unique_ptr<ThinkingSplitter> thinking_;
  std::unique_ptr<TemplateParser> parser_;
  std::unique_ptr<JsonCalls> calls_;
};

}  // namespace drover
