// Turns messages into a prompt, and derives how to read the output: stop strings, grammar, parser. Wraps llama.cpp's
// chat templates and parsers, whose API is not stable; no other file uses them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/sampler.h"
#include "runner.pb.h"

namespace drover {

class LlamaModel;

// How a model's text is split into content, thinking and tool calls.
struct OutputSyntax {
  enum class Kind {
    kPlain,     // all of it is content
    kThinking,  // thinking between two tags at the start, then content
    kParser,    // llama.cpp's parser for this template, needed for tool calls
  } kind = Kind::kPlain;
  std::string thinking_start;  // kThinking
  std::string thinking_end;
  bool starts_in_thinking = false;  // the prompt ends inside the thinking tag
  // The prompt ends inside an answer that the client began: the output continues it.
  enum class Begun { kNothing, kThinking, kContent } begun = Begun::kNothing;
  // kPlain, kThinking: if these are not empty, the content may hold calls of these tools, see json_calls.h.
  std::string tools_json;
  std::string tool_tag;
  // kParser: the text that a tool call begins with. If it is not empty, everything before it is content and thinking,
  // by the tags above, and the parser is needed only from there on. Empty: only the parser knows.
  std::vector<std::string> tool_starts;
  int format = 0;                 // kParser: common_chat_format
  std::string parser;             // kParser: serialized
  std::string generation_prompt;  // kParser
};

struct RenderedPrompt {
  std::string text;
  std::vector<std::string> stops;  // the template's, in addition to the request's
  std::string grammar;
  GrammarStart grammar_start;
  OutputSyntax syntax;
};

class ChatTemplate {
 public:
  // Reads and analyzes the model's own template, or `override` (jinja) if it is not empty. A model without a template
  // gets plain concatenation (like Ollama's "{{ .Prompt }}"). Error: kInvalidArgument if the template does not parse.
  static Result<std::unique_ptr<ChatTemplate>> create(const LlamaModel& model, const std::string& override = {});
  ~ChatTemplate();

  // Any thread. Error: kInvalidArgument if the template refuses the messages or the schema cannot be used.
  Result<RenderedPrompt> render(const pb::Chat& chat, const pb::Format& format) const;

  bool present() const;
  // How often a parser was made from the template's analysis, for tools or thinking options that were new.
  int parsers_made() const;

 private:
  struct Parts;
  explicit ChatTemplate(std::unique_ptr<Parts> parts);
  void render_jinja(const pb::Chat& chat, bool schema, RenderedPrompt& prompt) const;
  void render_begun(const pb::Chat& chat, const pb::Message& begun, bool schema, RenderedPrompt& prompt) const;
  std::unique_ptr<Parts> parts_;
};

// When a grammar for the answer starts to bind: after the end of the thinking, if there is any. `think`: thinking is
// on.
GrammarStart after_thinking(const OutputSyntax& syntax, bool think);

// The grammar of a `format` holds for the whole answer. If the client began it in the last message of `chat`, the
// grammar reads that first.
void go_on_from(const pb::Chat& chat, RenderedPrompt& prompt);

// GBNF for a `format`, empty for text. Error: kInvalidArgument for a schema that cannot be used.
Result<std::string> grammar_for(const pb::Format& format);

}  // namespace drover
