#include "template/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"
#include "template/format.h"

namespace drover::go_template {
namespace {

constexpr std::string_view kLeft = "{{";
constexpr std::string_view kRight = "}}";
constexpr std::string_view kCommentLeft = "/*";
constexpr std::string_view kCommentRight = "*/";
constexpr std::size_t kTrimMarkerBytes = 2;  // a minus and the space between it and the action

constexpr std::array<std::pair<std::string_view, TokenKind>, 13> kKeywords = {{
    {"block", TokenKind::kBlock},
    {"break", TokenKind::kBreak},
    {"continue", TokenKind::kContinue},
    {"define", TokenKind::kDefine},
    {"else", TokenKind::kElse},
    {"end", TokenKind::kEnd},
    {"false", TokenKind::kBool},
    {"if", TokenKind::kIf},
    {"nil", TokenKind::kNil},
    {"range", TokenKind::kRange},
    {"template", TokenKind::kTemplate},
    {"true", TokenKind::kBool},
    {"with", TokenKind::kWith},
}};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Letters beyond ASCII count as letters, whatever Unicode calls them.
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Tokens run() {
    while (lex_text() && lex_action()) {
    }
    return std::move(tokens_);
  }

 private:
  bool at_end() const { return position_ >= source_.size(); }
  char peek(std::size_t ahead = 0) const {
    return position_ + ahead < source_.size() ? source_[position_ + ahead] : '\0';
  }
  std::string_view rest() const { return source_.substr(std::min(position_, source_.size())); }

  void emit(TokenKind kind, std::size_t begin, std::size_t end) {
    line_ += static_cast<std::size_t>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(counted_),
                                                 source_.begin() + static_cast<std::ptrdiff_t>(begin), '\n'));
    counted_ = begin;
    tokens_.list.push_back({kind, begin, line_, source_.substr(begin, end - begin)});
  }
  // Ends the token that began at `begin` at the current position.
  bool emit(TokenKind kind, std::size_t begin) {
    emit(kind, begin, position_);
    return true;
  }
  bool fail(std::size_t begin, std::string message) {
    emit(TokenKind::kError, begin, begin);
    tokens_.error = std::move(message);
    return false;
  }
  bool fail_at_character(std::size_t begin) {
    if (at_end()) return fail(begin, "bad character U+FFFFFFFFFFFFFFFF");
    return fail(begin, fmt::format("bad character U+{:04X} '{}'", static_cast<unsigned char>(peek()), peek()));
  }

  // Bytes of the right delimiter at the position, with its trim marker; 0: there is none.
  std::size_t right_delimiter_bytes() const {
    const std::string_view ahead = rest();
    if (ahead.starts_with(kRight)) return kRight.size();
    const bool trims = ahead.size() > kTrimMarkerBytes && is_blank(ahead[0]) && ahead[1] == '-' &&
                       ahead.substr(kTrimMarkerBytes).starts_with(kRight);
    return trims ? kTrimMarkerBytes + kRight.size() : 0;
  }
  // Passes the right delimiter, and the white space after it if that is to be trimmed.
  void pass_right_delimiter(std::size_t bytes) {
    position_ += bytes;
    if (bytes == kRight.size()) return;
    while (!at_end() && is_blank(peek())) ++position_;
  }
  bool at_left_trim_marker(std::size_t offset) const {
    return offset + 1 < source_.size() && source_[offset] == '-' && is_blank(source_[offset + 1]);
  }

  // Text up to the next action, and the delimiter that opens it. False: the source ends or is wrong.
  bool lex_text() {
    while (true) {
      const std::size_t begin = position_;
      const std::size_t found = source_.find(kLeft, begin);
      std::size_t text_end = std::min(found, source_.size());
      if (found == source_.npos) {
        if (text_end > begin) emit(TokenKind::kText, begin, text_end);
        emit(TokenKind::kEof, source_.size(), source_.size());
        return false;
      }
      const std::size_t inside = found + kLeft.size();
      const bool trims = at_left_trim_marker(inside);
      while (trims && text_end > begin && is_blank(source_[text_end - 1])) --text_end;
      if (text_end > begin) emit(TokenKind::kText, begin, text_end);
      position_ = inside + (trims ? kTrimMarkerBytes : 0);
      if (!rest().starts_with(kCommentLeft)) {
        emit(TokenKind::kLeftDelimiter, found, inside);
        return true;
      }
      if (!pass_comment(found)) return false;
    }
  }

  bool pass_comment(std::size_t begin) {
    const std::size_t end = source_.find(kCommentRight, position_ + kCommentLeft.size());
    if (end == source_.npos) return fail(begin, "unclosed comment");
    position_ = end + kCommentRight.size();
    const std::size_t bytes = right_delimiter_bytes();
    if (bytes == 0) return fail(begin, "comment ends before closing delimiter");
    pass_right_delimiter(bytes);
    return true;
  }

  // Everything up to and with the right delimiter. False: the action is wrong.
  bool lex_action() {
    int paren_depth = 0;
    while (true) {
      const std::size_t begin = position_;
      if (const std::size_t bytes = right_delimiter_bytes(); bytes > 0) {
        if (paren_depth > 0) return fail(begin, "unclosed left paren");
        emit(TokenKind::kRightDelimiter, begin, begin + bytes);
        pass_right_delimiter(bytes);
        return true;
      }
      if (at_end()) return fail(begin, "unclosed action");
      if (peek() == '(') ++paren_depth;
      if (peek() == ')' && --paren_depth < 0) return fail(begin, "unexpected right paren");
      if (!lex_token()) return false;
    }
  }

  bool lex_token() {
    const std::size_t begin = position_;
    const char c = peek();
    if (is_blank(c)) return lex_spaces();
    if (is_digit(c) || c == '+' || c == '-' || (c == '.' && is_digit(peek(1)))) return lex_number();
    if (is_alphanumeric(c)) return lex_identifier();
    ++position_;
    switch (c) {
      case '=':
        return emit(TokenKind::kAssign, begin);
      case ':':
        if (peek() != '=') return fail(begin, "expected :=");
        ++position_;
        return emit(TokenKind::kDeclare, begin);
      case '|':
        return emit(TokenKind::kPipe, begin);
      case '(':
        return emit(TokenKind::kLeftParen, begin);
      case ')':
        return emit(TokenKind::kRightParen, begin);
      case '"':
        return lex_quoted('"', TokenKind::kString, "unterminated quoted string");
      case '\'':
        return lex_quoted('\'', TokenKind::kCharConstant, "unterminated character constant");
      case '`':
        return lex_raw_string();
      case '$':
        return lex_name(TokenKind::kVariable, TokenKind::kVariable);
      case '.':
        return lex_name(TokenKind::kField, TokenKind::kDot);
      default:
        break;
    }
    if (c < 0x20 || c > 0x7E) {
      return fail(begin, fmt::format("unrecognized character in action: U+{:04X}", static_cast<unsigned char>(c)));
    }
    return emit(TokenKind::kChar, begin);
  }

  bool lex_spaces() {
    const std::size_t begin = position_;
    while (!at_end() && is_blank(peek()) && right_delimiter_bytes() == 0) ++position_;
    return emit(TokenKind::kSpace, begin);
  }

  // What may stand right after a name: .X.Y is two fields, $x+2 is nothing.
  bool at_terminator() const {
    return at_end() || is_blank(peek()) || std::string_view(".,|:)(").find(peek()) != std::string_view::npos ||
           rest().starts_with(kRight);
  }

  // The name after a dot or a dollar; `alone` if there is none.
  bool lex_name(TokenKind kind, TokenKind alone) {
    const std::size_t begin = position_ - 1;
    if (at_terminator()) return emit(alone, begin);
    while (!at_end() && is_alphanumeric(peek())) ++position_;
    return at_terminator() ? emit(kind, begin) : fail_at_character(begin);
  }

  bool lex_identifier() {
    const std::size_t begin = position_;
    while (!at_end() && is_alphanumeric(peek())) ++position_;
    if (!at_terminator()) return fail_at_character(begin);
    const std::string_view word = source_.substr(begin, position_ - begin);
    const auto* keyword =
        std::find_if(kKeywords.begin(), kKeywords.end(), [&](const auto& k) { return k.first == word; });
    return emit(keyword == kKeywords.end() ? TokenKind::kIdentifier : keyword->second, begin);
  }

  // Takes whatever looks like a number; whether it is one the parser says.
  bool lex_number() {
    const std::size_t begin = position_;
    const auto accept = [&](std::string_view set) {
      const bool ok = !at_end() && set.find(peek()) != set.npos;
      position_ += ok ? 1 : 0;
      return ok;
    };
    accept("+-");
    std::string_view digits = "0123456789_";
    if (accept("0")) {
      if (accept("xX"))
        digits = "0123456789abcdefABCDEF_";
      else if (accept("oO"))
        digits = "01234567_";
      else if (accept("bB"))
        digits = "01_";
    }
    while (accept(digits)) {
    }
    if (accept(".")) {
      while (accept(digits)) {
      }
    }
    if (digits.size() == 11 && accept("eE")) {
      accept("+-");
      while (accept("0123456789_")) {
      }
    }
    if (!at_end() && is_alphanumeric(peek())) {
      ++position_;
      return fail(begin, "bad number syntax: " + go_quoted(source_.substr(begin, position_ - begin)));
    }
    return emit(TokenKind::kNumber, begin);
  }

  bool lex_quoted(char quote, TokenKind kind, const char* unterminated) {
    const std::size_t begin = position_ - 1;
    for (; !at_end() && peek() != '\n'; ++position_) {
      if (peek() == quote) {
        ++position_;
        return emit(kind, begin);
      }
      if (peek() == '\\' && peek(1) != '\n') ++position_;
    }
    return fail(begin, unterminated);
  }

  bool lex_raw_string() {
    const std::size_t begin = position_ - 1;
    const std::size_t end = source_.find('`', position_);
    if (end == source_.npos) return fail(begin, "unterminated raw quoted string");
    position_ = end + 1;
    return emit(TokenKind::kRawString, begin);
  }

  std::string_view source_;
  std::size_t position_ = 0;
  std::size_t counted_ = 0;  // lines are counted up to here
  std::size_t line_ = 1;
  Tokens tokens_;
};

}  // namespace

Tokens tokenize(std::string_view source) {
  return Lexer(source).run();
}

std::string describe(const Token& token, const std::string& lexer_error) {
  constexpr std::size_t kShownMax = 10;
  if (token.kind == TokenKind::kEof) return "EOF";
  if (token.kind == TokenKind::kError) return lexer_error;
  if (token.kind > TokenKind::kVariable) return fmt::format("<{}>", token.text);
  if (token.text.size() > kShownMax) return go_quoted(token.text.substr(0, kShownMax)) + "...";
  return go_quoted(token.text);
}

}  // namespace drover::go_template
