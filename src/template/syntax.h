// A parsed template: what the parser makes, the executor walks and the questions about a template look through.
//
// Plain immutable data. Pipelines are shared, so a copy of a tree with parts left out costs little.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "template/value.h"

namespace drover::go_template {

// A part of the source, in bytes: for messages.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct Pipeline;

// One word of a command.
struct Operand {
  enum class Kind {
    kDot,
    kNil,
    kConstant,  // value
    kField,     // .A.B: names
    kVariable,  // $x.A: names, the first of them with its dollar
    kFunction,  // names[0]
    kPipeline,  // (…): pipeline
    kChain,     // a function or (…) followed by .A.B: base, names
  };
  Kind kind = Kind::kDot;
  Span span;
  Value value;
  std::vector<std::string> names;
  std::shared_ptr<const Pipeline> pipeline;
  std::shared_ptr<const Operand> base;
};

// A function or a value with its arguments. Never empty.
struct Command {
  Span span;
  std::vector<Operand> operands;
};

// Commands, each the last argument of the next; never empty. The value may be stored in variables.
struct Pipeline {
  Span span;
  std::vector<std::string> variables;  // with their dollars
  bool assigns = false;                // = rather than :=
  std::vector<Command> commands;
};

struct Statement {
  enum class Kind { kText, kAction, kIf, kWith, kRange, kTemplate, kBreak, kContinue };
  Kind kind = Kind::kText;
  Span span;
  std::string text;                          // kText: the text; kTemplate: the template's name
  std::shared_ptr<const Pipeline> pipeline;  // null only for kText, kBreak, kContinue, and kTemplate without one
  std::vector<Statement> body;               // kIf, kWith, kRange
  std::vector<Statement> otherwise;          // after {{else}}
};

using Statements = std::vector<Statement>;

struct SyntaxTree {
  Statements root;
  std::map<std::string, Statements, std::less<>> named;  // by {{define}} and {{block}}
};

}  // namespace drover::go_template
