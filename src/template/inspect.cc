#include "template/inspect.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "template/lexer.h"

namespace drover::go_template {
namespace {

using Kind = Statement::Kind;

class NameCollector {
 public:
  void visit(const Statements& list) {
    for (const Statement& statement : list) {
      if (statement.pipeline) visit(*statement.pipeline);
      visit(statement.body);
      visit(statement.otherwise);
    }
  }
  std::set<std::string, std::less<>> names;

 private:
  void visit(const Pipeline& pipeline) {
    for (const Command& command : pipeline.commands) {
      for (const Operand& operand : command.operands) visit(operand);
    }
  }
  void visit(const Operand& operand) {
    if (operand.pipeline) visit(*operand.pipeline);
    if (operand.base) visit(*operand.base);
    if (operand.kind == Operand::Kind::kFunction) return;
    for (std::string name : operand.names) {
      std::transform(name.begin(), name.end(), name.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; });
      names.insert(std::move(name));
    }
  }
};

class ResponseCutter {
 public:
  Statements cut(const Statements& list) {
    Statements kept;
    for (const Statement& statement : list) {
      if (found_) break;
      Statement copy = statement;
      if (statement.kind == Kind::kAction) {
        copy.pipeline = cut(*statement.pipeline);
        if (!copy.pipeline) continue;
      } else {
        copy.body = cut(statement.body);
        copy.otherwise = cut(statement.otherwise);
      }
      kept.push_back(std::move(copy));
    }
    return kept;
  }

 private:
  // Null: nothing is left of it.
  std::shared_ptr<const Pipeline> cut(const Pipeline& pipeline) {
    auto kept = std::make_shared<Pipeline>(pipeline);
    kept->commands.clear();
    for (const Command& command : pipeline.commands) {
      Command copy{command.span, {}};
      for (const Operand& operand : command.operands) {
        if (found_) break;
        Operand part = operand;
        if (operand.kind == Operand::Kind::kPipeline) {
          part.pipeline = cut(*operand.pipeline);
          if (!part.pipeline) continue;
        }
        found_ = found_ || (operand.kind == Operand::Kind::kField &&
                            std::find(operand.names.begin(), operand.names.end(), "Response") != operand.names.end());
        copy.operands.push_back(std::move(part));
      }
      if (copy.operands.empty()) return nullptr;
      kept->commands.push_back(std::move(copy));
    }
    return kept;
  }

  bool found_ = false;
};

// Whether the pipeline, or one in parentheses within it, has a field that begins with the name.
bool uses_field(const Pipeline& pipeline, std::string_view name) {
  for (const Command& command : pipeline.commands) {
    for (const Operand& operand : command.operands) {
      if (operand.kind == Operand::Kind::kField && operand.names.front() == name) return true;
      if (operand.kind == Operand::Kind::kPipeline && uses_field(*operand.pipeline, name)) return true;
    }
  }
  return false;
}

class ThinkingTagFinder {
 public:
  // `range` is the pipeline of the range that the list is in, if it is in one.
  void visit(const Statements& list, const Pipeline* range) {
    for (const Statement& statement : list) {
      const Pipeline* const inner = statement.kind == Kind::kRange ? statement.pipeline.get() : range;
      if (statement.pipeline) visit(*statement.pipeline, list, inner);
      visit(statement.body, inner);
      visit(statement.otherwise, inner);
    }
  }
  std::pair<std::string, std::string> tags;

 private:
  // `list` is the nearest list of statements that the pipeline is in. Later finds replace earlier ones.
  void visit(const Pipeline& pipeline, const Statements& list, const Pipeline* range) {
    if (range == nullptr || !uses_field(*range, "Messages") || !uses_field(pipeline, "Thinking")) return;
    if (list.front().kind == Kind::kText) tags.first = trimmed(list.front().text);
    if (list.back().kind == Kind::kText) tags.second = trimmed(list.back().text);
  }
};

bool tests_tool_calls(const Statement& statement) {
  for (const Command& command : statement.pipeline->commands) {
    for (const Operand& operand : command.operands) {
      if (operand.kind == Operand::Kind::kField &&
          std::find(operand.names.begin(), operand.names.end(), "ToolCalls") != operand.names.end()) {
        return true;
      }
    }
  }
  return false;
}

const Statement* find_tool_calls(const Statements& list) {
  for (const Statement& statement : list) {
    if (statement.kind == Kind::kIf && tests_tool_calls(statement)) return &statement;
    if (const Statement* found = find_tool_calls(statement.body)) return found;
    if (const Statement* found = find_tool_calls(statement.otherwise)) return found;
  }
  return nullptr;
}

// The first text before anything that writes a value.
const Statement* find_text(const Statements& list) {
  for (const Statement& statement : list) {
    switch (statement.kind) {
      case Kind::kText:
        return &statement;
      case Kind::kAction:
        return nullptr;
      case Kind::kIf:
      case Kind::kWith:
      case Kind::kRange: {
        const Statement* const found = find_text(statement.body);
        return found != nullptr ? found : find_text(statement.otherwise);
      }
      default:
        break;
    }
  }
  return nullptr;
}

}  // namespace

std::set<std::string, std::less<>> names_in(const SyntaxTree& tree) {
  NameCollector collector;
  collector.visit(tree.root);
  for (const auto& [name, list] : tree.named) collector.visit(list);
  return std::move(collector.names);
}

Statements cut_after_response(const Statements& root) {
  return ResponseCutter().cut(root);
}

Statement make_field_action(const std::string& name, Span span) {
  Operand field;
  field.kind = Operand::Kind::kField;
  field.span = span;
  field.names = {name};
  auto pipeline = std::make_shared<Pipeline>();
  pipeline->span = span;
  pipeline->commands.push_back({span, {std::move(field)}});
  Statement statement;
  statement.kind = Kind::kAction;
  statement.span = span;
  statement.pipeline = std::move(pipeline);
  return statement;
}

std::pair<std::string, std::string> infer_thinking_tags(const Statements& root) {
  ThinkingTagFinder finder;
  finder.visit(root, nullptr);
  return std::move(finder.tags);
}

std::string infer_tool_call_tag(const Statements& root) {
  const Statement* const branch = find_tool_calls(root);
  const Statement* const text = branch != nullptr ? find_text(branch->body) : nullptr;
  if (text == nullptr) return "{";
  std::string_view tag = text->text;
  tag = trimmed(tag.substr(0, tag.find('{')));
  return tag.empty() ? "{" : std::string(tag);
}

}  // namespace drover::go_template
