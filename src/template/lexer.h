// Cuts the source of a template into tokens, as Go's text/template does: text, and what stands between {{ and }}.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace drover::go_template {

enum class TokenKind {
  kError,         // the source cannot be cut further; Tokens::error says why
  kBool,          // true, false
  kChar,          // a character with no meaning of its own, such as a comma
  kCharConstant,  // 'a'
  kAssign,        // =
  kDeclare,       // :=
  kEof,
  kField,       // .Name
  kIdentifier,  // a function's name
  kLeftDelimiter,
  kLeftParen,
  kNumber,
  kPipe,
  kRawString,  // in backquotes, which belong to it
  kRightDelimiter,
  kRightParen,
  kSpace,
  kString,    // in double quotes, which belong to it
  kText,      // what is copied to the output
  kVariable,  // $ or $name
  // Keywords from here on.
  kDot,
  kBlock,
  kBreak,
  kContinue,
  kDefine,
  kElse,
  kEnd,
  kIf,
  kNil,
  kRange,
  kTemplate,
  kWith,
};

struct Token {
  TokenKind kind = TokenKind::kEof;
  std::size_t offset = 0;  // in the source, in bytes
  std::size_t line = 1;
  std::string_view text;  // a part of the source
};

struct Tokens {
  std::vector<Token> list;  // never empty: the last is kEof or kError
  std::string error;
};

// The tokens point into the source.
Tokens tokenize(std::string_view source);

// Go's words for a token in a message: EOF, <end>, "}".
std::string describe(const Token& token, const std::string& lexer_error);

}  // namespace drover::go_template
