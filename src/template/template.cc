#include "template/template.h"

#include <set>
#include <utility>

#include "base/text.h"
#include "template/chat_values.h"
#include "template/executor.h"
#include "template/inspect.h"
#include "template/parser.h"

namespace drover::go_template {

struct Template::Parsed {
  std::string source;
  SyntaxTree tree;
  Statements up_to_response;  // for the last turn of a template without .Messages
  std::set<std::string, std::less<>> names;
  std::pair<std::string, std::string> thinking_tags;
  std::string tool_call_tag;
};

namespace {

// What Ollama hands to a template in one execution.
struct Turn {
  std::string system;
  std::string prompt;
  std::string response;
};

Map::Entries thinking_entries(const ChatInputs& inputs) {
  return {{"IsThinkSet", Value(inputs.think.has_value())},
          {"Think", Value(inputs.think.value_or(false))},
          {"ThinkLevel", Value(inputs.think_level)}};
}

// One rendering: the executions of a template share a budget and write one after the other.
class Rendering {
 public:
  Rendering(std::string_view source, const SyntaxTree& tree, const ChatInputs& inputs)
      : program_{source, &tree, inputs.now}, inputs_(inputs) {}

  Result<void> run(const Statements& root, Map::Entries entries) {
    for (auto& entry : thinking_entries(inputs_)) entries.push_back(std::move(entry));
    return execute(program_, root, Value::map(std::move(entries)), budget_, output_);
  }
  Result<void> run(const Statements& root, const Turn& turn) {
    return run(root,
               {{"Prompt", Value(turn.prompt)}, {"Response", Value(turn.response)}, {"System", Value(turn.system)}});
  }

  // A template without .Messages, once for each turn: a turn is over when something comes that belongs before what is
  // there already.
  Result<void> run_turns(const Statements& root, const Statements& up_to_response, std::span<const Message> messages) {
    Turn turn;
    for (const Message& message : messages) {
      const bool is_system = message.role == "system";
      const bool is_user = message.role == "user";
      if ((is_system && (!turn.prompt.empty() || !turn.response.empty())) || (is_user && !turn.response.empty())) {
        if (auto done = run(root, std::exchange(turn, {})); !done) return done;
      }
      if (is_system) turn.system = message.content;
      if (is_user) turn.prompt = message.content;
      if (message.role == "assistant") turn.response = message.content;
    }
    return run(up_to_response, turn);
  }

  std::string take() && { return std::move(output_).take(); }

 private:
  Program program_;
  const ChatInputs& inputs_;
  Budget budget_;
  BoundedText output_{kOutputBytesMax};
};

}  // namespace

Result<Template> Template::parse(std::string_view source) {
  auto tree = parse_syntax(source);
  if (!tree) return tree.error();
  auto parsed = std::make_shared<Parsed>();
  parsed->source = std::string(source);
  parsed->tree = *std::move(tree);
  parsed->names = names_in(parsed->tree);
  if (!parsed->names.contains("messages") && !parsed->names.contains("response")) {
    parsed->tree.root.push_back(make_field_action("Response", {source.size(), source.size()}));
    parsed->names.insert("response");
  }
  parsed->up_to_response = cut_after_response(parsed->tree.root);
  parsed->thinking_tags = infer_thinking_tags(parsed->tree.root);
  parsed->tool_call_tag = infer_tool_call_tag(parsed->tree.root);
  return Template(std::move(parsed));
}

Result<std::string> Template::render_chat(const ChatInputs& inputs) const {
  Rendering rendering(parsed_->source, parsed_->tree, inputs);
  const Statements& root = parsed_->tree.root;
  Result<void> done;
  if (!inputs.prompt.empty() && !inputs.suffix.empty()) {
    done = rendering.run(root,
                         {{"Prompt", Value(inputs.prompt)}, {"Response", Value("")}, {"Suffix", Value(inputs.suffix)}});
  } else {
    const Collated chat = collate(inputs.messages);
    if (uses("messages")) {
      auto messages = messages_value(chat.messages);
      if (!messages) return messages.error();
      auto tools = tools_value(inputs.tools_json);
      if (!tools) return tools.error();
      done = rendering.run(root, {{"Messages", *std::move(messages)},
                                  {"Response", Value("")},
                                  {"System", Value(chat.system)},
                                  {"Tools", *std::move(tools)}});
    } else {
      done = rendering.run_turns(root, parsed_->up_to_response, chat.messages);
    }
  }
  if (!done) return done.error();
  return std::move(rendering).take();
}

bool Template::uses(std::string_view name) const {
  return parsed_->names.contains(lower_case(name));
}

std::optional<ThinkingTags> Template::thinking_tags() const {
  const auto& [open, close] = parsed_->thinking_tags;
  if (open.empty() || close.empty()) return std::nullopt;
  return ThinkingTags{open, close};
}

const std::string& Template::tool_call_tag() const {
  return parsed_->tool_call_tag;
}

const std::string& Template::source() const {
  return parsed_->source;
}

}  // namespace drover::go_template
