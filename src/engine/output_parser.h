// Takes a model's output apart as it comes: whole UTF-8 characters, stop strings, thinking, tool calls. Used by one
// thread at a time; knows nothing of the engine, so that it can be tested alone.
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

// What has become certain since the last call.
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

  // Adds the bytes of a token. Text is held back while it could still be the start of a stop string or of a tag, or is
  // half a character. Returns true once a stop string was found: it and what follows it are dropped.
  bool push(std::string_view bytes, OutputPiece& out);
  // The output has ended: what was held back is certain now. Half a character is dropped: its rest never comes.
  // `cut_off`: not by the model's own will; a call that had been begun is dropped then. Else it is text.
  void finish(bool cut_off, OutputPiece& out);

  // What llama.cpp's parser has read so far, each time that it was asked: the cost of the output.
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
  std::string held_;  // bytes that are not certain yet
  bool stopped_ = false;
  std::unique_ptr<ThinkingSplitter> thinking_;
  std::unique_ptr<TemplateParser> parser_;
  std::unique_ptr<JsonCalls> calls_;
};

}  // namespace drover
