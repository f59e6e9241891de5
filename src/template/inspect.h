// Questions about a template that Ollama answers by looking at its syntax: what it refers to, where the model's answer
// would stand, and between which marks it puts thinking and tool calls.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>

#include "template/syntax.h"

namespace drover::go_template {

// The names of all fields and variables in it, in lower case.
std::set<std::string, std::less<>> names_in(const SyntaxTree& tree);

// The template up to and with the first {{ .Response }} (in an action, not in a condition).
Statements cut_after_response(const Statements& root);

// A statement that writes the field.
Statement make_field_action(const std::string& name, Span span);

// What stands first and last around .Thinking inside a range over .Messages; either may be empty.
std::pair<std::string, std::string> infer_thinking_tags(const Statements& root);

// The first text inside {{ if .ToolCalls }}, up to a brace; "{" if there is none, so that any JSON object counts.
std::string infer_tool_call_tag(const Statements& root);

}  // namespace drover::go_template
