#include "schema/regex.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/text.h"
#include "base/utf8.h"

namespace drover::schema {
namespace {

constexpr int kDepthMax = 100;
constexpr int kCountTooLarge = 1'000'000'000;

[[noreturn]] void invalid_pattern(std::string problem) {
  throw RegexFault{true, std::move(problem)};
}

[[noreturn]] void not_supported(std::string problem) {
  throw RegexFault{false, std::move(problem)};
}

bool is_digit(char32_t code) {
  return code >= '0' && code <= '9';
}

bool is_letter(char32_t code) {
  return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z');
}

std::u32string decoded(std::string_view text) {
  std::u32string codes;
  while (!text.empty()) {
    const Utf8Character character = first_utf8_character(text);
    codes += character.code;
    text.remove_prefix(character.bytes);
  }
  return codes;
}

Regex one_of(CodeSet set) {
  return {Regex::Kind::kSet, std::move(set)};
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : text_(decoded(pattern)) {}

  Regex parse() {
    Regex all = choice();
    if (at_ < text_.size()) invalid_pattern("unbalanced parentheses");
    return all;
  }

 private:
  bool at_end() const { return at_ >= text_.size(); }
  bool next_is(char32_t code) const { return at_ < text_.size() && text_[at_] == code; }
  bool take(char32_t code) {
    if (!next_is(code)) return false;
    ++at_;
    return true;
  }
  bool take(std::u32string_view word) {
    if (text_.compare(at_, word.size(), word) != 0) return false;
    at_ += word.size();
    return true;
  }

  Regex choice() {
    if (++depth_ > kDepthMax) not_supported("groups are nested too deep");
    Regex first = sequence();
    if (next_is('|')) {
      Regex all{Regex::Kind::kChoice};
      all.parts.push_back(std::move(first));
      while (take('|')) all.parts.push_back(sequence());
      first = std::move(all);
    }
    --depth_;
    return first;
  }

  Regex sequence() {
    Regex all{Regex::Kind::kSequence};
    while (!at_end() && !next_is('|') && !next_is(')')) all.parts.push_back(quantified());
    return all;
  }

  Regex quantified() {
    Regex item = atom();
    const bool repeatable =
        item.kind != Regex::Kind::kStart && item.kind != Regex::Kind::kEnd && item.kind != Regex::Kind::kBoundary;
    const auto bounds = quantifier();
    if (!bounds) return item;
    if (!repeatable) invalid_pattern("nothing to repeat");
    take('?');  // lazy: the same strings
    if (next_is('+')) not_supported("a possessive quantifier");
    if (quantifier()) invalid_pattern("nothing to repeat");
    Regex repeat{Regex::Kind::kRepeat};
    repeat.min = bounds->first;
    repeat.max = bounds->second;
    repeat.parts.push_back(std::move(item));
    return repeat;
  }

  std::optional<std::pair<int, int>> quantifier() {
    if (take('*')) return std::pair{0, -1};
    if (take('+')) return std::pair{1, -1};
    if (take('?')) return std::pair{0, 1};
    if (!next_is('{')) return std::nullopt;
    const std::size_t before = at_++;
    const auto min = number();
    std::optional<int> max = min;
    if (min && take(',')) max = next_is('}') ? std::optional<int>(-1) : number();
    if (!min || !max || !take('}')) {  // then the brace means itself
      at_ = before;
      return std::nullopt;
    }
    if (*max >= 0 && *min > *max) {
      invalid_pattern(fmt::format("pattern repeats {{{},{}}} times, which is the wrong way round", *min, *max));
    }
    return std::pair{*min, *max};
  }

  std::optional<int> number() {
    std::optional<int> value;
    while (!at_end() && is_digit(text_[at_])) {
      value = std::min(kCountTooLarge, value.value_or(0) * 10 + static_cast<int>(text_[at_++] - '0'));
      if (*value > kCountTooLarge / 10) value = kCountTooLarge / 10;
    }
    return value;
  }

  Regex atom() {
    const char32_t code = text_[at_++];
    switch (code) {
      case '^':
        return {Regex::Kind::kStart};
      case '$':
        return {Regex::Kind::kEnd};
      case '.':
        return one_of(kLineEnds.inverted());
      case '(':
        return group();
      case '[':
        return one_of(char_class());
      case '*':
      case '+':
      case '?':
        invalid_pattern("nothing to repeat");
      case '\\':
        return escape();
      default:
        return one_of({{code, code}});
    }
  }

  Regex group() {
    if (take('?')) {
      if (take(U"<=") || take(U"<!")) not_supported("lookbehind");
      if (take('=') || take('!')) not_supported("lookahead");
      if (take('<') || take(U"P<")) {
        while (!at_end() && !next_is('>')) ++at_;
        if (!take('>')) invalid_pattern("unterminated name of a group");
      } else if (!take(':')) {
        not_supported("this kind of group");
      }
    }
    Regex inner = choice();
    if (!take(')')) invalid_pattern("unbalanced parentheses");
    return inner;
  }

  Regex escape() {
    if (at_end()) invalid_pattern("trailing backslash");
    const char32_t code = text_[at_];
    if (code == 'b') {
      ++at_;
      return {Regex::Kind::kBoundary};
    }
    if (code == 'B') not_supported("\\B");
    if (code == 'k' || (code >= '1' && code <= '9')) not_supported("a reference to a group");
    return one_of(escaped_set());
  }

  // What stands after a backslash, in a class or not.
  CodeSet escaped_set() {
    const char32_t code = text_[at_++];
    switch (code) {
      case 'd':
        return kDigits;
      case 'D':
        return kDigits.inverted();
      case 'w':
        return kWords;
      case 'W':
        return kWords.inverted();
      case 's':
        return kSpaces;
      case 'S':
        return kSpaces.inverted();
      default:
        --at_;
    }
    const char32_t one = escaped_code();
    return {{one, one}};
  }

  char32_t escaped_code() {
    const char32_t code = text_[at_++];
    switch (code) {
      case 't':
        return '\t';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case '0':
        if (!at_end() && is_digit(text_[at_])) not_supported("an octal escape");
        return 0;
      case 'c': {
        if (at_end() || !is_letter(text_[at_])) invalid_pattern("\\c without a letter");
        return text_[at_++] % 32;
      }
      case 'x':
        return hex(2);
      case 'u':
        return unicode();
      case 'p':
      case 'P':
        not_supported(code == 'p' ? "\\p{...}" : "\\P{...}");
      default:
        break;
    }
    if (is_letter(code) || is_digit(code)) not_supported(fmt::format("\\{}", static_cast<char>(code)));
    return code;
  }

  char32_t hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const int digit = at_end() ? -1 : hex_value(text_[at_]);
      if (digit < 0) invalid_pattern("an escape has too few digits");
      value = value * 16 + static_cast<char32_t>(digit);
      ++at_;
    }
    return value;
  }

  char32_t unicode() {
    if (take('{')) {
      char32_t value = 0;
      while (!at_end() && hex_value(text_[at_]) >= 0) {
        value = std::min<char32_t>(value * 16 + static_cast<char32_t>(hex_value(text_[at_++])), 0x1000000);
      }
      if (!take('}') || value > CodeSet::kLast) invalid_pattern("\\u{...} is no character");
      return value;
    }
    const char32_t first = hex(4);
    const bool high = first >= 0xD800 && first < 0xDC00;
    if (!high || text_.compare(at_, 2, U"\\u") != 0) return first;
    at_ += 2;
    const char32_t second = hex(4);
    if (second < 0xDC00 || second > 0xDFFF) not_supported("half a character");
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  CodeSet char_class() {
    const bool inverted = take('^');
    CodeSet set;
    while (!next_is(']')) {
      if (at_end()) invalid_pattern("unterminated character class");
      const auto [first, single] = class_item();
      if (!single || !next_is('-') || (at_ + 1 < text_.size() && text_[at_ + 1] == ']')) {
        set.append(first);
        continue;
      }
      ++at_;
      if (at_end()) invalid_pattern("unterminated character class");
      const auto [second, also_single] = class_item();
      if (!also_single) {  // [\w-.]: then the hyphen means itself
        set.append(first);
        set.append(second);
        set.append('-', '-');
      } else if (*single > *also_single) {
        invalid_pattern("a range of characters is the wrong way round");
      } else {
        set.append(*single, *also_single);
      }
    }
    ++at_;
    set.normalize();
    return inverted ? set.inverted() : set;
  }

  std::pair<CodeSet, std::optional<char32_t>> class_item() {
    const char32_t code = text_[at_++];
    if (code == '[' && (next_is(':') || next_is('='))) not_supported("a class with a name");
    if (code != '\\') return {CodeSet{{code, code}}, code};
    if (at_end()) invalid_pattern("unterminated character class");
    if (take('b')) return {CodeSet{{'\b', '\b'}}, U'\b'};
    const bool kind_of = std::u32string_view(U"dDwWsS").find(text_[at_]) != std::u32string_view::npos;
    if (kind_of) return {escaped_set(), std::nullopt};
    const char32_t one = escaped_code();
    return {CodeSet{{one, one}}, one};
  }

  const std::u32string text_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Regex parse_regex(std::string_view pattern) {
  return Parser(pattern).parse();
}

}  // namespace drover::schema
