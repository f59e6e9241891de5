#include "api/openai_functions.h"

#include <fmt/format.h>

#include "api/answer_parts.h"

namespace drover::api {
namespace {

Json wrapped(Json function) {
  Json tool = Json::object();
  tool["type"] = "function";
  tool["function"] = std::move(function);
  return tool;
}

bool is_filled_array(const Json& body, const char* name) {
  const auto found = body.find(name);
  return found != body.end() && found->is_array() && !found->empty();
}

Json taken(Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) return nullptr;
  Json value = std::move(*found);
  object.erase(found);
  return value;
}

// That form has one call in a message, and its result in the message after it: neither needs an id.
void number_calls(Json& messages) {
  std::string id;
  std::size_t count = 0;
  for (Json& message : messages) {
    if (!message.is_object()) continue;
    const auto role = message.find("role");
    if (role == message.end()) continue;
    const auto call = message.find("function_call");
    if (*role == "assistant" && call != message.end() && call->is_object() && !is_filled_array(message, "tool_calls")) {
      id = fmt::format("function_call_{}", ++count);
      Json tool = wrapped(taken(message, "function_call"));
      tool["id"] = id;
      message["tool_calls"] = Json::array({std::move(tool)});
    } else if (*role == "function") {
      *role = "tool";
      if (!id.empty()) message["tool_call_id"] = id;
    }
  }
}

}  // namespace

bool functions_to_tools(Json& body) {
  if (const auto messages = body.find("messages"); messages != body.end() && messages->is_array()) {
    number_calls(*messages);
  }
  if (!is_filled_array(body, "functions") || is_filled_array(body, "tools")) return false;
  Json tools = Json::array();
  for (Json& function : *body.find("functions")) tools.push_back(wrapped(std::move(function)));
  body.erase("functions");
  body["tools"] = std::move(tools);
  body["parallel_tool_calls"] = false;  // an answer has room for one call
  Json choice = taken(body, "function_call");
  if (!choice.is_null()) body["tool_choice"] = choice.is_object() ? wrapped(std::move(choice)) : std::move(choice);
  return true;
}

void append_function_call(std::string& out, const pb::ToolCall& call) {
  out += R"(,"function_call":{"name":)";
  append_json_string(out, call.name());
  out += ",\"arguments\":";
  append_json_string(out, arguments_text(call));
  out += '}';
}

}  // namespace drover::api
