#include "engine/go_prompt.h"

#include <fmt/format.h>

#include <chrono>

#include "base/json.h"
#include "base/text.h"
#include "engine/conversation_form.h"
#include "engine/gbnf.h"
#include "schema/schema_rewrite.h"
#include "template/template.h"

namespace drover {
namespace {

go_template::ChatInputs inputs_of(const pb::Chat& chat) {
  go_template::ChatInputs inputs;
  for (const pb::Message& message : chat.messages()) {
    go_template::Message& into = inputs.messages.emplace_back();
    into.role = message.role() == "developer" ? "system" : message.role() == "function" ? "tool" : message.role();
    into.content = message.content();
    into.thinking = message.thinking();
    into.tool_name = message.tool_name();
    into.tool_call_id = message.tool_call_id();
    for (const pb::ToolCall& call : message.tool_calls()) {
      into.tool_calls.push_back({.id = call.id(),
                                 .index = static_cast<int>(into.tool_calls.size()),
                                 .name = call.name(),
                                 .arguments_json = call.arguments_json()});
    }
  }
  inputs.tools_json = chat.tools_json();
  inputs.suffix = chat.suffix();
  if (!inputs.suffix.empty() && chat.messages_size() > 0)
    inputs.prompt = chat.messages(chat.messages_size() - 1).content();
  inputs.now = std::chrono::system_clock::now();
  if (chat.thinking() != pb::THINKING_UNSET) inputs.think = chat.thinking() == pb::THINKING_ON;
  inputs.think_level = chat.think_level();
  return inputs;
}

// Renders a conversation that ends in an answer, which the model continues. Some templates leave such an answer open.
// For the others, the answer is appended where the model would begin.
Result<std::string> render_begun(const go_template::Template& parsed, go_template::ChatInputs inputs) {
  auto whole = parsed.render_chat(inputs);
  if (!whole) return whole;
  const std::string begun = inputs.messages.back().content;
  if (trimmed(*whole).ends_with(trimmed(begun))) return whole;
  inputs.messages.pop_back();
  auto text = parsed.render_chat(inputs);
  if (!text) return text;
  return *text + begun;
}

// The key under which the template shows the arguments of a call.
const char* arguments_name(const std::string& source) {
  return source.find("\"parameters\": {{") != std::string::npos ? "parameters" : "arguments";
}

// The grammar for the output of a template that shows calls: which text must come, or may come.
Result<void> read_calls(const go_template::Template& parsed, const pb::Chat& chat, RenderedPrompt& prompt) {
  prompt.syntax.tools_json = chat.tools_json();
  prompt.syntax.tool_tag = parsed.tool_call_tag();
  if (prompt.grammar.empty() && !chat.tool_required()) return {};
  auto calls = json_calls_grammar(parsed.tool_call_tag(), arguments_name(parsed.source()), chat.tools_json());
  if (!calls) return std::move(calls).error();
  prompt.grammar = chat.tool_required() ? std::move(*calls) : gbnf::either(prompt.grammar, *calls);
  return {};
}

// A schema that becomes part of another one refers to its own root with a new path.
void move_references(Json& schema, const std::string& root) {
  if (!schema.is_structured()) return;
  if (const auto found = schema.is_object() ? schema.find("$ref") : schema.end();
      found != schema.end() && found->is_string()) {
    const std::string reference = found->get<std::string>();
    if (reference == "#" || reference.starts_with("#/")) *found = root + reference.substr(1);
  }
  for (Json& part : schema) move_references(part, root);
}

}  // namespace

Result<std::string> json_calls_grammar(std::string tag, const char* arguments, const std::string& tools_json) {
  Json calls = Json::array();
  const Json tools = Json::parse(tools_json, nullptr, false);
  for (const Json& tool : tools) {
    const Json function = tool.is_object() ? tool.value("function", Json()) : Json();
    if (!function.is_object() || !function.contains("name")) continue;
    Json parameters = function.value("parameters", Json());
    if (!parameters.is_object() || parameters.empty()) parameters = {{"type", "object"}};
    // A tool with an invalid schema must not affect the others.
    if (!schema::SchemaRewriter().rewrite(parameters, "", false)) parameters = {{"type", "object"}};
    move_references(parameters, fmt::format("#/anyOf/{}/properties/{}", calls.size(), arguments));
    calls.push_back({{"type", "object"},
                     {"properties", {{"name", {{"const", function["name"]}}}, {arguments, std::move(parameters)}}},
                     {"required", {"name", arguments}},
                     {"additionalProperties", false}});
  }
  pb::Format format;
  format.set_kind(pb::Format::JSON_SCHEMA);
  format.set_schema_json(Json{{"anyOf", std::move(calls)}}.dump());
  auto call = grammar_for(format);
  if (!call) return call;
  const bool list = tag.find('[', 1) != std::string::npos && trimmed(tag).ends_with("[");
  while (!tag.empty() &&
         (tag.ends_with("{") || (list && tag.ends_with("[")) || tag.ends_with(" ") || tag.ends_with("\n")))
    tag.pop_back();
  std::string root;
  if (!tag.empty()) root += gbnf::literal(tag) + " space ";
  if (list) root += "\"[\" space ";
  root += "call-root";
  if (list) root += " (space \",\" space call-root)* space \"]\"";
  if (tag.size() > 2 && tag.starts_with("<")) root += " space " + gbnf::literal("</" + tag.substr(1));
  return "root ::= " + root + "\nspace ::= [ \\n]{0,2}\n" + gbnf::renamed(*call, "call-");
}

Result<RenderedPrompt> render_go(const pb::Chat& chat, const pb::Format& format) {
  auto parsed = go_template::Template::parse(chat.go_template());
  if (!parsed) return std::move(parsed).error();
  go_template::ChatInputs inputs = inputs_of(chat);
  const pb::Message* const last = begun_answer(chat);
  const bool begun = last != nullptr && !last->content().empty();
  auto text = begun ? render_begun(*parsed, std::move(inputs)) : parsed->render_chat(inputs);
  if (!text) return std::move(text).error();
  RenderedPrompt prompt;
  prompt.text = std::move(*text);
  auto grammar = grammar_for(format);
  if (!grammar) return std::move(grammar).error();
  prompt.grammar = std::move(*grammar);
  const bool think = chat.thinking() == pb::THINKING_ON;
  if (const auto tags = parsed->thinking_tags(); tags && !begun) {
    prompt.syntax.kind = OutputSyntax::Kind::kThinking;
    prompt.syntax.thinking_start = tags->open;
    prompt.syntax.thinking_end = tags->close;
    prompt.syntax.starts_in_thinking = trimmed(prompt.text).ends_with(tags->open);
  }
  if (begun) prompt.syntax.begun = OutputSyntax::Begun::kContent;
  if (!chat.tools_json().empty()) {
    if (auto read = read_calls(*parsed, chat, prompt); !read) return std::move(read).error();
  }
  if (prompt.grammar.empty()) return prompt;
  prompt.grammar_start = after_thinking(prompt.syntax, think);
  if (!chat.tool_required()) go_on_from(chat, prompt);
  return prompt;
}

}  // namespace drover
