// What the readers of all dialects do in the same way: they put what they have found in a body into an Ask, within the
// bounds that hold for all of a request.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "api/ask.h"
#include "api/schema_check.h"
#include "base/result.h"

namespace drover::api {

// What an answer is to be held to.
struct FormatAsk {
  pb::Format::Kind kind = pb::Format::TEXT;
  Json schema;          // with JSON_SCHEMA
  bool strict = false;  // refused if not all of the schema can be kept
};

// Which of the tools is to be called.
struct ToolChoice {
  enum class Kind { kAuto, kNone, kRequired, kNamed };
  Kind kind = Kind::kAuto;
  std::string name;  // with kNamed
};

// One for each body. All errors are kInvalidArgument.
class AskReader {
 public:
  // `ask` must outlive this.
  explicit AskReader(Ask& ask) : ask_(ask) {}

  // Options by name, or null.
  Result<void> options(const Json& given);
  // true, false, or how hard: "low", "medium", "high", "max".
  Result<void> think(const Json& value);
  Result<void> logprobs(bool wanted, std::int64_t top);
  Result<void> format(const FormatAsk& format);

  // ---- of a conversation: ask.input is a pb::Chat
  // More messages than there may be.
  static Result<void> check_message_count(std::size_t count);
  // `tools` in OpenAI's and Ollama's form. With none of them the choice does not matter.
  Result<void> tools(const Json& tools, const ToolChoice& choice, bool one_call);
  // Adds a call to a message. `arguments` as call_arguments() takes them.
  Result<void> call(pb::Message& message, std::string id, std::string name, const Json* arguments);
  // The name of the tool that the call `id` went to; empty: there was no such call.
  std::string called(const std::string& id) const;

  Warnings& warnings() { return ask_.warnings; }

 private:
  Ask& ask_;
  SchemaBudget budget_;
  JsonReader texts_{kBodyBounds};  // of arguments that are JSON in a text
  std::unordered_map<std::string, std::string> called_;
};

// An option under a name that its client has for it, which an error then begins with.
Result<void> take_option(Json& options, const char* option, const char* written, const Json& value);

// A choice in OpenAI's and Ollama's form: "auto", "none", "required" or an object that names a function.
Result<ToolChoice> read_tool_choice(const Json& choice);

// true or false as a wish to think.
ThinkAsk think_of(bool wanted);

// keep_alive: seconds, also as a text, or a Go duration; negative: for ever. Null: not said.
Result<std::optional<Duration>> read_keep_alive(const Json* value);

}  // namespace drover::api
