// Tools in the forms that OpenAI's clients send them in, as the functions that a model is offered, and back.
//
// A model knows functions only. Members of a namespace become functions NAMESPACE__MEMBER, and their calls go back with
// the member's name and a field `namespace`: that is what Codex looks a call up by (openai/codex,
// codex-rs/core/src/tools/router.rs, build_tool_call). A custom tool becomes a function whose one parameter is the text
// that the tool takes. What only OpenAI's own servers can run is left out.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>

#include "api/ask_reader.h"
#include "api/json.h"
#include "api/warnings.h"
#include "runner.pb.h"

namespace drover::api {

// A tool as its client knows it.
struct OpenaiTool {
  std::string space;  // the namespace that it is a member of
  std::string name;
  bool custom = false;
};

class OpenaiTools {
 public:
  // Takes the tools of a request, of chat's form or of that of Responses. Error: kInvalidArgument.
  Result<void> read(const Json& list, Warnings& warnings);

  // Reads a `tool_choice` of either form. One that allows some of the tools only takes the others away. After read().
  // Error: kInvalidArgument.
  Result<ToolChoice> choose(const Json& choice);

  // The functions, as AskReader::tools() takes them. Empties it.
  Json take_functions() { return std::move(functions_); }

  // The function that stands for a tool, whether it is among those that were read or only in the conversation.
  std::string function_of(const std::string& space, const std::string& name) const;
  // The tool that a function stands for.
  OpenaiTool tool_of(const std::string& function) const;

 private:
  Result<void> add(const Json& tool, const std::string& space, Warnings& warnings);
  Result<ToolChoice> allow(const Json& allowed);

  Json functions_ = Json::array();
  std::unordered_set<std::string> names_;              // of all functions
  std::unordered_set<std::string> left_out_;           // types
  std::unordered_map<std::string, OpenaiTool> tools_;  // by function, where it is not a plain one of the same name
  std::unordered_map<std::string, std::string>
      renamed_;  // functions by namespace and name, where they are not as usual
};

// The input of a custom tool as the arguments of its function, and back. What a model wrote that is no such object is
// handed on as it is.
Json custom_arguments(std::string input);
std::string custom_input(const pb::ToolCall& call);

}  // namespace drover::api
