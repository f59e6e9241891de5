#include "template/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "template/format.h"
#include "template/functions.h"

namespace drover::go_template {
namespace {

constexpr int kDepthMax = 500;
constexpr std::size_t kVariablesMax = 10'000;
constexpr std::size_t kTextBytesPerUnit = 64;

// After the first error every function returns at once, its value being of no account.
class Executor {
 public:
  Executor(const Program& program, const Value& data, Budget& budget, BoundedText& output)
      : program_(program), budget_(budget), output_(output) {
    variables_.emplace_back("$", data);
  }

  Result<void> run(const Statements& root, const Value& data) {
    run_list(root, data);
    if (error_) return *error_;
    return {};
  }

 private:
  // What comes after a statement.
  enum class Flow { kNext, kBreak, kContinue, kStop };

  // A level of nesting, of statements or of parentheses.
  class Depth {
   public:
    Depth(Executor& executor, Span span) : executor_(executor) {
      if (++executor_.depth_ > kDepthMax) {
        executor_.fail(span, fmt::format("exceeded maximum template depth ({})", kDepthMax));
      }
    }
    ~Depth() { --executor_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Executor& executor_;
  };

  // Errors and limits.

  std::string location(Span span) const {
    const std::string_view before = program_.source.substr(0, span.begin);
    const std::size_t newline = before.rfind('\n');
    const std::size_t column = newline == before.npos ? before.size() : before.size() - newline - 1;
    return fmt::format(":{}:{}", 1 + std::count(before.begin(), before.end(), '\n'), column);
  }

  void fail(Span span, std::string_view message, ErrorCode code = ErrorCode::kInvalidArgument) {
    if (error_) return;
    constexpr std::size_t kContextMax = 100;
    const std::string_view context = program_.source.substr(span.begin, std::min(span.end - span.begin, kContextMax));
    error_ = Error{code, fmt::format("template: {}: executing {} at <{}>: {}", location(span), go_quoted(name_),
                                     context, message)};
  }

  // Takes the units from the budget; false: they are not there.
  bool charge(Span span, std::size_t units) {
    budget_.work_units_max -= static_cast<std::int64_t>(units);
    if (budget_.work_units_max < 0) fail(span, "the template takes too many steps", ErrorCode::kTooLarge);
    return !error_;
  }

  void write(Span span, std::string_view text) {
    output_.append(text);
    check_output(span, text.size());
  }
  void write(Span span, const Value& value) {
    const std::size_t before = output_.size();
    if (value.get_if<std::monostate>()) {
      output_.append("<no value>");
    } else {
      append_value(output_, value);
    }
    check_output(span, output_.size() - before);
  }
  void check_output(Span span, std::size_t bytes) {
    if (output_.cut()) {
      fail(span, fmt::format("the output is longer than {} bytes", kOutputBytesMax), ErrorCode::kTooLarge);
    }
    charge(span, bytes / kTextBytesPerUnit);
  }

  // Statements.

  Flow run_list(const Statements& list, const Value& dot) {
    if (list.empty()) return error_ ? Flow::kStop : Flow::kNext;
    const Depth depth(*this, list.front().span);
    for (const Statement& statement : list) {
      if (!charge(statement.span, 1)) return Flow::kStop;
      const Flow flow = run_statement(statement, dot);
      if (error_) return Flow::kStop;
      if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  Flow run_statement(const Statement& statement, const Value& dot) {
    switch (statement.kind) {
      case Statement::Kind::kText:
        write(statement.span, statement.text);
        return Flow::kNext;
      case Statement::Kind::kAction: {
        const Value value = evaluate(*statement.pipeline, dot);
        if (!error_ && statement.pipeline->variables.empty()) write(statement.span, value);
        return Flow::kNext;
      }
      case Statement::Kind::kIf:
      case Statement::Kind::kWith:
        return run_branch(statement, dot);
      case Statement::Kind::kRange:
        return run_range(statement, dot);
      case Statement::Kind::kTemplate:
        return run_template(statement, dot);
      case Statement::Kind::kBreak:
        return Flow::kBreak;
      case Statement::Kind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kNext;
  }

  Flow run_branch(const Statement& statement, const Value& dot) {
    const std::size_t variables = variables_.size();
    const Value value = evaluate(*statement.pipeline, dot);
    Flow flow = Flow::kStop;
    if (!error_) {
      const bool sets_dot = statement.kind == Statement::Kind::kWith;
      flow = value.truth() ? run_list(statement.body, sets_dot ? value : dot) : run_list(statement.otherwise, dot);
    }
    forget(variables);
    return flow;
  }

  Flow run_range(const Statement& statement, const Value& dot) {
    const std::size_t variables = variables_.size();
    const Value value = evaluate(*statement.pipeline, dot);
    Flow flow = Flow::kStop;
    if (!error_) {
      bool is_empty = true;
      flow = run_items(statement, value, is_empty);
      if (is_empty && !error_) flow = run_list(statement.otherwise, dot);
    }
    forget(variables);
    return flow;
  }

  // The body for each item of a list, a map, a number (0 up to it) or nothing at all.
  Flow run_items(const Statement& statement, const Value& value, bool& is_empty) {
    if (const auto* list = value.get_if<List>()) {
      is_empty = list->size() == 0;
      for (std::size_t i = 0; i < list->size(); ++i) {
        const Flow flow = run_item(statement, Value(static_cast<std::int64_t>(i)), (*list)[i]);
        if (flow != Flow::kNext) return flow == Flow::kBreak ? Flow::kNext : flow;
      }
    } else if (const auto* map = value.get_if<Map>()) {
      is_empty = map->size() == 0;
      for (std::size_t i = 0; i < map->size(); ++i) {
        const auto& [key, item] = (*map->entries)[i];
        const Flow flow = run_item(statement, Value(key), item);
        if (flow != Flow::kNext) return flow == Flow::kBreak ? Flow::kNext : flow;
      }
    } else if (const auto* count = value.get_if<std::int64_t>()) {
      is_empty = *count <= 0;
      if (statement.pipeline->variables.size() > 1) {
        fail(statement.pipeline->span, fmt::format("can't use {} to iterate over more than one variable", *count));
      }
      for (std::int64_t i = 0; i < *count && !error_; ++i) {
        const Flow flow = run_item(statement, Value(i), Value(i));
        if (flow != Flow::kNext) return flow == Flow::kBreak ? Flow::kNext : flow;
      }
    } else if (!value.is_nil()) {
      fail(statement.pipeline->span, fmt::format("range can't iterate over {}", shown(value)));
    }
    return error_ ? Flow::kStop : Flow::kNext;
  }

  // One round of a range. kContinue does not leave it.
  Flow run_item(const Statement& statement, const Value& index, const Value& item) {
    if (!charge(statement.span, 1)) return Flow::kStop;
    const std::vector<std::string>& names = statement.pipeline->variables;
    const std::size_t mark = variables_.size();
    if (names.size() == 1) set_range_variable(statement, 0, item);
    if (names.size() == 2) {
      set_range_variable(statement, 0, index);
      set_range_variable(statement, 1, item);
    }
    const Flow flow = run_list(statement.body, item);
    forget(mark);
    return flow == Flow::kContinue ? Flow::kNext : flow;
  }

  // The pipeline has declared the variables already; assigned ones may stand further down.
  void set_range_variable(const Statement& statement, std::size_t which, const Value& value) {
    assign(statement.span, statement.pipeline->variables[which], value);
  }

  Flow run_template(const Statement& statement, const Value& dot) {
    const auto found = program_.tree->named.find(statement.text);
    if (found == program_.tree->named.end()) {
      fail(statement.span, fmt::format("template {} not defined", go_quoted(statement.text)));
      return Flow::kStop;
    }
    const Value data = statement.pipeline ? evaluate(*statement.pipeline, dot) : Value();
    if (error_) return Flow::kStop;
    // The template called sees its own data and none of the caller's variables.
    const std::size_t scope = std::exchange(scope_, variables_.size());
    const std::string_view name = std::exchange(name_, found->first);
    variables_.emplace_back("$", data);
    run_list(found->second, data);
    forget(scope_);
    scope_ = scope;
    name_ = name;
    return error_ ? Flow::kStop : Flow::kNext;
  }

  // Variables.

  void forget(std::size_t mark) {
    variables_.erase(variables_.begin() + static_cast<std::ptrdiff_t>(mark), variables_.end());
  }

  Value* find_variable(Span span, std::string_view name) {
    charge(span, (variables_.size() - scope_) / 8);
    for (std::size_t i = variables_.size(); i > scope_; --i) {
      if (variables_[i - 1].first == name) return &variables_[i - 1].second;
    }
    fail(span, fmt::format("undefined variable: {}", name));
    return nullptr;
  }

  void declare(Span span, std::string_view name, const Value& value) {
    if (variables_.size() >= kVariablesMax) {
      return fail(span, fmt::format("more than {} variables", kVariablesMax), ErrorCode::kTooLarge);
    }
    variables_.emplace_back(name, value);
  }

  void assign(Span span, std::string_view name, const Value& value) {
    if (Value* variable = find_variable(span, name)) *variable = value;
  }

  // Pipelines.

  Value evaluate(const Pipeline& pipeline, const Value& dot) {
    const Depth depth(*this, pipeline.span);
    std::optional<Value> value;
    for (const Command& command : pipeline.commands) {
      value = evaluate(command, dot, value);
      if (error_) return Value();
    }
    for (const std::string& name : pipeline.variables) {
      if (pipeline.assigns) {
        assign(pipeline.span, name, *value);
      } else {
        declare(pipeline.span, name, *value);
      }
    }
    return *std::move(value);
  }

  // `last` is the value of the command before, which becomes the last argument.
  Value evaluate(const Command& command, const Value& dot, const std::optional<Value>& last) {
    if (!charge(command.span, command.operands.size())) return Value();
    const Operand& first = command.operands.front();
    if (first.kind == Operand::Kind::kFunction) return call(command, dot, last);
    const bool has_arguments = command.operands.size() > 1 || last.has_value();
    const bool is_access = first.kind == Operand::Kind::kField || first.kind == Operand::Kind::kChain ||
                           (first.kind == Operand::Kind::kVariable && first.names.size() > 1);
    if (has_arguments && is_access) {
      fail(first.span, fmt::format("{} is not a method but has arguments", first.names.back()));
    } else if (has_arguments) {
      fail(first.span, fmt::format("can't give argument to non-function {}", source_of(first.span)));
    } else if (first.kind == Operand::Kind::kNil) {
      fail(first.span, "nil is not a command");
    }
    return error_ ? Value() : evaluate(first, dot);
  }

  std::string_view source_of(Span span) const { return program_.source.substr(span.begin, span.end - span.begin); }

  Value evaluate(const Operand& operand, const Value& dot) {
    switch (operand.kind) {
      case Operand::Kind::kDot:
        return dot;
      case Operand::Kind::kNil:
        return Value();
      case Operand::Kind::kConstant:
        return operand.value;
      case Operand::Kind::kField:
        return fields(operand, dot, operand.names);
      case Operand::Kind::kVariable: {
        const Value* value = find_variable(operand.span, operand.names.front());
        return value == nullptr ? Value() : fields(operand, *value, std::span(operand.names).subspan(1));
      }
      case Operand::Kind::kFunction:
        return call(operand, {}, dot, std::nullopt);
      case Operand::Kind::kPipeline:
        return evaluate(*operand.pipeline, dot);
      case Operand::Kind::kChain: {
        const Value base = evaluate(*operand.base, dot);
        return error_ ? Value() : fields(operand, base, operand.names);
      }
    }
    return Value();
  }

  // .A.B.C of a value. The first field of nothing is nothing; a field of a field that is not there is an error.
  Value fields(const Operand& operand, const Value& receiver, std::span<const std::string> names) {
    Value value = receiver;
    for (std::size_t i = 0; i < names.size() && !error_; ++i) {
      const std::string& name = names[i];
      if (const auto* record = value.get_if<Record>()) {
        const Value* found = record->find(name);
        if (found == nullptr) return no_field(operand, name, value);
        value = Value(*found);
      } else if (const auto* map = value.get_if<Map>()) {
        charge(operand.span, map->size() / 8);
        const Value* found = map->find(name);
        value = found != nullptr ? Value(*found) : Value();
      } else if (!value.get_if<std::monostate>()) {
        return no_field(operand, name, value);
      } else if (i > 0) {
        fail(operand.span, fmt::format("nil pointer evaluating interface {{}}.{}", name));
      }
    }
    return value;
  }

  Value no_field(const Operand& operand, const std::string& name, const Value& value) {
    fail(operand.span, fmt::format("can't evaluate field {} in type {}", name, value.type_name()));
    return Value();
  }

  // Functions.

  Value call(const Command& command, const Value& dot, const std::optional<Value>& last) {
    return call(command.operands.front(), std::span(command.operands).subspan(1), dot, last);
  }

  Value call(const Operand& operand, std::span<const Operand> words, const Value& dot,
             const std::optional<Value>& last) {
    const std::string& name = operand.names.front();
    const Function* function = find_function(name);
    const std::size_t count = words.size() + (last ? 1 : 0);
    const std::size_t least = function != nullptr ? function->arguments_min : 1;
    const std::size_t most = function != nullptr ? function->arguments_max : Function::kAnyNumber;
    if (count < least || count > most) {
      const std::string_view wanted = most == Function::kAnyNumber ? "at least " : "";
      fail(operand.span, fmt::format("wrong number of args for {}: want {}{} got {}", name, wanted, least, count));
      return Value();
    }
    if (function == nullptr) return decide(name == "or", words, dot, last);
    std::vector<Value> arguments;
    arguments.reserve(count);
    for (const Operand& word : words) {
      arguments.push_back(evaluate(word, dot));
      if (error_) return Value();
    }
    if (last) arguments.push_back(*last);
    return apply(*function, operand, arguments);
  }

  // `and` and `or`: the first argument that decides, or the last; those after it are not looked at.
  Value decide(bool decisive, std::span<const Operand> words, const Value& dot, const std::optional<Value>& last) {
    Value value;
    for (const Operand& word : words) {
      value = evaluate(word, dot);
      if (error_ || value.truth() == decisive) return value;
    }
    return last ? *last : value;
  }

  Value apply(const Function& function, const Operand& operand, const std::vector<Value>& arguments) {
    std::size_t bytes = 0;
    for (const Value& argument : arguments) {
      if (const auto* text = argument.get_if<Text>()) bytes += text->view().size();
      if (const auto* map = argument.get_if<Map>()) bytes += map->size() * 8;
    }
    if (!charge(operand.span, bytes / kTextBytesPerUnit)) return Value();
    auto result = function.call(arguments, {program_.now, budget_.text_bytes_max});
    if (!result) {
      fail(operand.span, fmt::format("error calling {}: {}", function.name, result.error().message));
      return Value();
    }
    if (const auto* text = result->get_if<Text>(); text != nullptr && function.makes_text) {
      budget_.text_bytes_max -= text->view().size();
      charge(operand.span, text->view().size() / kTextBytesPerUnit);
    }
    return *std::move(result);
  }

  const Program& program_;
  Budget& budget_;
  BoundedText& output_;
  std::string_view name_;  // of the template being run; the root has none
  // Those of the template being run are the ones from scope_ on.
  std::vector<std::pair<std::string_view, Value>> variables_;
  std::size_t scope_ = 0;
  int depth_ = 0;
  std::optional<Error> error_;
};

}  // namespace

Result<void> execute(const Program& program, const Statements& root, const Value& data, Budget& budget,
                     BoundedText& output) {
  return Executor(program, data, budget, output).run(root, data);
}

}  // namespace drover::go_template
