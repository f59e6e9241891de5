#include "template/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/text.h"
#include "template/format.h"
#include "template/functions.h"
#include "template/lexer.h"
#include "template/literals.h"

namespace drover::go_template {
namespace {

constexpr std::size_t kSourceBytesMax = 256 << 10;
constexpr int kNestingMax = 100;

// After the first error every token is the end of the source, so that each function simply returns.
class Parser {
 public:
  explicit Parser(std::string_view source) : source_(source), tokens_(tokenize(source)) {}

  Result<SyntaxTree> run() {
    parse_top();
    if (error_) return *error_;
    return std::move(tree_);
  }

 private:
  // What ended a list of statements, or a statement.
  enum class Item { kStatement, kEnd, kElse, kNone };

  // Counts a level of nesting for as long as it lives.
  class Nesting {
   public:
    explicit Nesting(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kNestingMax) parser_.fail(fmt::format("nested more than {} deep", kNestingMax));
    }
    ~Nesting() { --parser_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Parser& parser_;
  };

  // Tokens.

  const Token& token_at(std::size_t index) const { return error_ ? kNoToken : tokens_.list[index]; }
  const Token& next() {
    const Token& token = peek();
    if (next_ + 1 < tokens_.list.size()) ++next_;
    return token;
  }
  const Token& peek() {
    furthest_ = std::max(furthest_, next_);
    return token_at(next_);
  }
  const Token& next_non_space() {
    peek_non_space();
    return next();
  }
  const Token& peek_non_space() {
    while (peek().kind == TokenKind::kSpace) next();
    return peek();
  }
  bool accept(TokenKind kind) {
    if (peek_non_space().kind != kind) return false;
    next();
    return true;
  }
  // From `begin` to the end of the last token taken that is not a space.
  Span span_from(std::size_t begin) const {
    std::size_t last = next_;
    while (last > 0 && (last == next_ || tokens_.list[last].kind == TokenKind::kSpace)) --last;
    const Token& token = tokens_.list[last];
    return {begin, std::max(begin, token.offset + token.text.size())};
  }

  // Errors, on the line of the last token looked at.

  void fail(std::string_view message) {
    if (error_) return;
    error_ = invalid(fmt::format("template: :{}: {}", tokens_.list[furthest_].line, message));
  }
  void unexpected(const Token& token, std::string_view context) {
    if (token.kind == TokenKind::kError) {
      std::string where;
      if (action_line_ != 0 && action_line_ != token.line) {
        where = fmt::format(" in action started at :{}", action_line_);
        if (tokens_.error.ends_with(" action")) where = where.substr(std::string_view(" in action").size());
      }
      return fail(tokens_.error + where);
    }
    fail(fmt::format("unexpected {} in {}", describe(token, tokens_.error), context));
  }
  void expect(TokenKind kind, std::string_view context) {
    const Token& token = next_non_space();
    if (token.kind != kind) unexpected(token, context);
  }

  // Statements.

  void parse_top() {
    while (peek().kind != TokenKind::kEof) {
      const std::size_t start = next_;
      if (peek().kind == TokenKind::kLeftDelimiter) {
        next();
        if (next_non_space().kind == TokenKind::kDefine) {
          parse_definition();
          continue;
        }
        next_ = start;
      }
      Statement statement;
      switch (parse_item(statement)) {
        case Item::kStatement:
          tree_.root.push_back(std::move(statement));
          break;
        case Item::kEnd:
          return fail("unexpected {{end}}");
        case Item::kElse:
          return fail("unexpected {{else}}");
        case Item::kNone:
          return;
      }
    }
  }

  // {{define "name"}} … {{end}}, its keyword taken.
  void parse_definition() {
    const std::string name = parse_name("define clause");
    expect(TokenKind::kRightDelimiter, "define clause");
    parse_named(name, "define clause");
  }

  // A template of its own up to its {{end}}: nothing of what is around it is in scope.
  void parse_named(const std::string& name, std::string_view context) {
    const auto variables = std::exchange(variables_, {"$"});
    const int ranges = std::exchange(range_depth_, 0);
    Statements body;
    if (parse_list(body) == Item::kElse) fail(fmt::format("unexpected {{{{else}}}} in {}", context));
    variables_ = variables;
    range_depth_ = ranges;
    if (error_) return;
    Statements& known = tree_.named[name];
    if (is_empty(known)) {
      known = std::move(body);
    } else if (!is_empty(body)) {
      fail(fmt::format("template: multiple definition of template {}", go_quoted(name)));
    }
  }

  static bool is_empty(const Statements& list) {
    return std::all_of(list.begin(), list.end(), [](const Statement& statement) {
      return statement.kind == Statement::Kind::kText &&
             std::all_of(statement.text.begin(), statement.text.end(), is_blank);
    });
  }

  // Statements up to {{end}} or {{else}}, which is taken and returned.
  Item parse_list(Statements& list) {
    while (peek_non_space().kind != TokenKind::kEof) {
      Statement statement;
      const Item item = parse_item(statement);
      if (item != Item::kStatement) return item;
      list.push_back(std::move(statement));
    }
    fail("unexpected EOF");
    return Item::kNone;
  }

  Item parse_item(Statement& statement) {
    const Token token = next_non_space();
    if (token.kind == TokenKind::kText) {
      statement.text = std::string(token.text);
      statement.span = {token.offset, token.offset + token.text.size()};
      return Item::kStatement;
    }
    if (token.kind != TokenKind::kLeftDelimiter) {
      unexpected(token, "input");
      return Item::kNone;
    }
    action_line_ = token.line;
    const Item item = parse_action(statement);
    action_line_ = 0;
    return error_ ? Item::kNone : item;
  }

  // What follows {{.
  Item parse_action(Statement& statement) {
    const std::size_t start = next_;
    const Token token = next_non_space();
    statement.span.begin = token.offset;
    switch (token.kind) {
      case TokenKind::kEnd:
        expect(TokenKind::kRightDelimiter, "end");
        return Item::kEnd;
      case TokenKind::kElse: {
        // {{else if}} and {{else with}} leave their keyword for the statement that they continue.
        const TokenKind following = peek_non_space().kind;
        if (following != TokenKind::kIf && following != TokenKind::kWith) expect(TokenKind::kRightDelimiter, "else");
        return Item::kElse;
      }
      case TokenKind::kIf:
        parse_control(statement, Statement::Kind::kIf, "if");
        break;
      case TokenKind::kWith:
        parse_control(statement, Statement::Kind::kWith, "with");
        break;
      case TokenKind::kRange:
        parse_control(statement, Statement::Kind::kRange, "range");
        break;
      case TokenKind::kBreak:
        parse_leave(statement, Statement::Kind::kBreak, "{{break}}");
        break;
      case TokenKind::kContinue:
        parse_leave(statement, Statement::Kind::kContinue, "{{continue}}");
        break;
      case TokenKind::kTemplate:
        parse_template_call(statement);
        break;
      case TokenKind::kBlock:
        parse_block(statement);
        break;
      default:
        next_ = start;
        statement.kind = Statement::Kind::kAction;
        statement.pipeline = parse_pipeline("command", TokenKind::kRightDelimiter);
        statement.span = statement.pipeline->span;
        return Item::kStatement;
    }
    // For messages: without the statements inside.
    const Span pipeline = statement.pipeline ? statement.pipeline->span : Span{};
    statement.span.end = std::max(pipeline.end, token.offset + token.text.size());
    return Item::kStatement;
  }

  // {{if}}, {{with}} or {{range}}, its keyword taken.
  void parse_control(Statement& statement, Statement::Kind kind, std::string_view context) {
    const Nesting nesting(*this);
    const std::size_t variables = variables_.size();
    statement.kind = kind;
    statement.pipeline = parse_pipeline(context, TokenKind::kRightDelimiter);
    range_depth_ += kind == Statement::Kind::kRange ? 1 : 0;
    Item item = parse_list(statement.body);
    range_depth_ -= kind == Statement::Kind::kRange ? 1 : 0;
    if (item == Item::kElse) {
      const bool continues = (kind == Statement::Kind::kIf && accept(TokenKind::kIf)) ||
                             (kind == Statement::Kind::kWith && accept(TokenKind::kWith));
      if (continues) {
        // As {{else}}{{if …}}…{{end}}{{end}}, the one {{end}} closing both.
        Statement inner;
        parse_control(inner, kind, context);
        inner.span = inner.pipeline->span;
        statement.otherwise.push_back(std::move(inner));
      } else if (parse_list(statement.otherwise) == Item::kElse) {
        fail("expected end; found {{else}}");
      }
    }
    variables_.resize(std::min(variables, variables_.size()));
  }

  void parse_leave(Statement& statement, Statement::Kind kind, std::string_view shown) {
    statement.kind = kind;
    expect(TokenKind::kRightDelimiter, shown);
    if (range_depth_ == 0) fail(fmt::format("{} outside {{{{range}}}}", shown));
  }

  void parse_template_call(Statement& statement) {
    constexpr std::string_view kContext = "template clause";
    statement.kind = Statement::Kind::kTemplate;
    statement.text = parse_name(kContext);
    if (accept(TokenKind::kRightDelimiter)) return;
    statement.pipeline = parse_pipeline(kContext, TokenKind::kRightDelimiter);
  }

  // {{block "name" pipeline}} … {{end}}: a definition and its call.
  void parse_block(Statement& statement) {
    const Nesting nesting(*this);
    constexpr std::string_view kContext = "block clause";
    statement.kind = Statement::Kind::kTemplate;
    statement.text = parse_name(kContext);
    statement.pipeline = parse_pipeline(kContext, TokenKind::kRightDelimiter);
    parse_named(statement.text, kContext);
  }

  std::string parse_name(std::string_view context) {
    const Token token = next_non_space();
    if (token.kind != TokenKind::kString && token.kind != TokenKind::kRawString) {
      unexpected(token, context);
      return "";
    }
    return string_of(token);
  }

  std::string string_of(const Token& token) {
    auto text = parse_string_literal(token.text);
    if (text) return *std::move(text);
    fail(text.error().message);
    return "";
  }

  // Pipelines. Each returns something to look at, also after an error.

  std::shared_ptr<const Pipeline> parse_pipeline(std::string_view context, TokenKind end) {
    auto pipeline = std::make_shared<Pipeline>();
    const std::size_t begin = peek_non_space().offset;
    parse_variables(*pipeline, context);
    while (!error_) {
      const Token token = peek_non_space();
      if (token.kind == end) {
        pipeline->span = span_from(begin);
        check_pipeline(*pipeline, context);
        next();
        break;
      }
      if (!starts_operand(token.kind)) {
        unexpected(next(), context);
        break;
      }
      pipeline->commands.push_back(parse_command());
    }
    return pipeline;
  }

  static bool starts_operand(TokenKind kind) {
    switch (kind) {
      case TokenKind::kBool:
      case TokenKind::kCharConstant:
      case TokenKind::kDot:
      case TokenKind::kField:
      case TokenKind::kIdentifier:
      case TokenKind::kNumber:
      case TokenKind::kNil:
      case TokenKind::kRawString:
      case TokenKind::kString:
      case TokenKind::kVariable:
      case TokenKind::kLeftParen:
        return true;
      default:
        return false;
    }
  }

  void check_pipeline(const Pipeline& pipeline, std::string_view context) {
    if (pipeline.commands.empty()) return fail(fmt::format("missing value for {}", context));
    for (std::size_t i = 1; i < pipeline.commands.size(); ++i) {
      const Operand::Kind kind = pipeline.commands[i].operands.front().kind;
      if (kind == Operand::Kind::kConstant || kind == Operand::Kind::kDot || kind == Operand::Kind::kNil) {
        return fail(fmt::format("non executable command in pipeline stage {}", i + 1));
      }
    }
  }

  // $x := and $x = and, in a range, $i, $x :=. Without := or = the variable is a command's and stays.
  void parse_variables(Pipeline& pipeline, std::string_view context) {
    while (peek_non_space().kind == TokenKind::kVariable) {
      const std::size_t start = next_;
      const std::string name(next().text);
      const Token following = peek_non_space();
      const bool is_comma = following.kind == TokenKind::kChar && following.text == ",";
      if (following.kind != TokenKind::kAssign && following.kind != TokenKind::kDeclare && !is_comma) {
        next_ = start;
        return;
      }
      next();
      pipeline.variables.push_back(name);
      variables_.push_back(name);
      if (!is_comma) {
        pipeline.assigns = following.kind == TokenKind::kAssign;
        return;
      }
      if (context != "range" || pipeline.variables.size() == 2) {
        return fail(fmt::format("too many declarations in {}", context));
      }
      const TokenKind second = peek_non_space().kind;
      if (second != TokenKind::kVariable && second != TokenKind::kRightDelimiter && second != TokenKind::kRightParen) {
        return fail("range can only initialize variables");
      }
    }
  }

  // Operands separated by spaces, up to a | or to what ends the pipeline.
  Command parse_command() {
    Command command;
    const std::size_t begin = peek_non_space().offset;
    while (!error_) {
      peek_non_space();
      if (auto operand = parse_operand()) command.operands.push_back(*std::move(operand));
      const Token token = peek();
      if (token.kind == TokenKind::kSpace) continue;
      command.span = span_from(begin);
      if (token.kind == TokenKind::kRightDelimiter || token.kind == TokenKind::kRightParen) break;
      next();
      if (token.kind != TokenKind::kPipe) unexpected(token, "operand");
      break;
    }
    if (command.operands.empty()) {
      fail("empty command");
      command.operands.emplace_back();
    }
    return command;
  }

  // A term and the fields that follow it without a space.
  std::optional<Operand> parse_operand() {
    auto term = parse_term();
    if (!term || peek().kind != TokenKind::kField) return term;
    std::vector<std::string> names;
    while (peek().kind == TokenKind::kField) names.emplace_back(next().text.substr(1));
    Operand operand = *std::move(term);
    switch (operand.kind) {
      case Operand::Kind::kField:
      case Operand::Kind::kVariable:
        operand.names.insert(operand.names.end(), names.begin(), names.end());
        operand.span = span_from(operand.span.begin);
        return operand;
      case Operand::Kind::kDot:
      case Operand::Kind::kNil:
      case Operand::Kind::kConstant:
        fail("unexpected . after term " +
             go_quoted(source_.substr(operand.span.begin, operand.span.end - operand.span.begin)));
        return operand;
      default:
        break;
    }
    Operand chain;
    chain.kind = Operand::Kind::kChain;
    chain.span = span_from(operand.span.begin);
    chain.names = std::move(names);
    chain.base = std::make_shared<const Operand>(std::move(operand));
    return chain;
  }

  // Nothing: no term stands here.
  std::optional<Operand> parse_term() {
    const Token token = peek_non_space();
    if (!starts_operand(token.kind)) return std::nullopt;
    next();
    Operand operand;
    operand.span = {token.offset, token.offset + token.text.size()};
    switch (token.kind) {
      case TokenKind::kDot:
        operand.kind = Operand::Kind::kDot;
        break;
      case TokenKind::kNil:
        operand.kind = Operand::Kind::kNil;
        break;
      case TokenKind::kField:
        operand.kind = Operand::Kind::kField;
        operand.names.emplace_back(token.text.substr(1));
        break;
      case TokenKind::kVariable:
        operand.kind = Operand::Kind::kVariable;
        operand.names.emplace_back(token.text);
        if (std::find(variables_.begin(), variables_.end(), token.text) == variables_.end()) {
          fail("undefined variable " + go_quoted(token.text));
        }
        break;
      case TokenKind::kIdentifier:
        operand.kind = Operand::Kind::kFunction;
        operand.names.emplace_back(token.text);
        if (!is_function(token.text)) fail(fmt::format("function {} not defined", go_quoted(token.text)));
        break;
      case TokenKind::kLeftParen: {
        const Nesting nesting(*this);
        operand.kind = Operand::Kind::kPipeline;
        operand.pipeline = parse_pipeline("parenthesized pipeline", TokenKind::kRightParen);
        operand.span = span_from(token.offset);
        break;
      }
      default:
        operand.kind = Operand::Kind::kConstant;
        operand.value = constant_of(token);
    }
    return operand;
  }

  Value constant_of(const Token& token) {
    if (token.kind == TokenKind::kBool) return Value(token.text == "true");
    if (token.kind == TokenKind::kString || token.kind == TokenKind::kRawString) return Value(string_of(token));
    auto value =
        token.kind == TokenKind::kNumber ? parse_number_literal(token.text) : parse_character_literal(token.text);
    if (value) return *std::move(value);
    fail(value.error().message);
    return Value();
  }

  static inline const Token kNoToken{};

  std::string_view source_;
  Tokens tokens_;
  std::size_t next_ = 0;      // the token to be taken next
  std::size_t furthest_ = 0;  // the last token looked at
  std::vector<std::string> variables_ = {"$"};
  int range_depth_ = 0;
  int depth_ = 0;
  std::size_t action_line_ = 0;  // where the action being parsed began; 0: none is
  std::optional<Error> error_;
  SyntaxTree tree_;
};

}  // namespace

Result<SyntaxTree> parse_syntax(std::string_view source) {
  if (source.size() > kSourceBytesMax) {
    return invalid(fmt::format("template: :1: longer than {} bytes", kSourceBytesMax));
  }
  return Parser(source).run();
}

}  // namespace drover::go_template
