#include "template/literals.h"

#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>

#include "base/utf8.h"
#include "template/format.h"

namespace drover::go_template {
namespace {

// Takes `count` digits from the front.
std::optional<std::uint32_t> take_digits(std::string_view& text, std::size_t count, int base) {
  if (text.size() < count) return std::nullopt;
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + count, number, base);
  if (error != std::errc() || end != text.data() + count) return std::nullopt;
  text.remove_prefix(count);
  return number;
}

struct Escape {
  std::uint32_t number = 0;
  bool is_byte = false;  // \x41 and \101 are bytes, \u0041 is a character
};

// Takes what follows a backslash. `quote` is the quote that may be escaped.
std::optional<Escape> take_escape(std::string_view& text, char quote) {
  if (text.empty()) return std::nullopt;
  const char c = text.front();
  if (c >= '0' && c <= '7') {
    const auto byte = take_digits(text, 3, 8);
    if (!byte || *byte > 255) return std::nullopt;
    return Escape{*byte, true};
  }
  text.remove_prefix(1);
  if (c == quote || c == '\\') return Escape{static_cast<std::uint32_t>(c)};
  constexpr std::string_view kLetters = "abfnrtv";
  constexpr std::string_view kControls = "\a\b\f\n\r\t\v";
  if (const std::size_t i = kLetters.find(c); i != kLetters.npos) {
    return Escape{static_cast<std::uint32_t>(kControls[i])};
  }
  const std::size_t count = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (count == 0) return std::nullopt;
  const auto number = take_digits(text, count, 16);
  if (!number) return std::nullopt;
  if (c != 'x' && (*number > 0x10FFFF || (*number >= 0xD800 && *number < 0xE000))) return std::nullopt;
  return Escape{*number, c == 'x'};
}

// The characters of a literal's inside; nothing if an escape is wrong.
std::optional<std::string> unescape(std::string_view inside, char quote) {
  std::string text;
  while (!inside.empty()) {
    const char c = inside.front();
    inside.remove_prefix(1);
    if (c != '\\') {
      text += c;
      continue;
    }
    const auto escape = take_escape(inside, quote);
    if (!escape) return std::nullopt;
    if (escape->is_byte) {
      text += static_cast<char>(escape->number);
    } else {
      append_utf8(text, escape->number);
    }
  }
  return text;
}

// Underscores may stand between digits and after the base's prefix, as in Go.
std::optional<std::string> without_underscores(std::string_view digits, bool has_prefix) {
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (digits[i] != '_') {
      text += digits[i];
      continue;
    }
    const bool before = i > 0 ? digits[i - 1] != '_' : has_prefix;
    const bool after = i + 1 < digits.size() && digits[i + 1] != '_';
    if (!before || !after) return std::nullopt;
  }
  return text;
}

}  // namespace

Result<std::string> parse_string_literal(std::string_view literal) {
  const char quote = literal.front();
  const std::string_view inside = literal.substr(1, literal.size() - 2);
  if (quote == '`') {
    std::string text;
    for (const char c : inside) {
      if (c != '\r') text += c;
    }
    return text;
  }
  auto text = unescape(inside, quote);
  if (!text) return invalid("invalid syntax");
  return *std::move(text);
}

Result<Value> parse_number_literal(std::string_view literal) {
  const Error wrong = invalid("illegal number syntax: " + go_quoted(literal));
  std::string_view rest = literal;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  int base = 10;
  if (rest.size() > 1 && rest[0] == '0' && std::string_view("xXoObB").find(rest[1]) != std::string_view::npos) {
    base = (rest[1] | 0x20) == 'x' ? 16 : (rest[1] | 0x20) == 'o' ? 8 : 2;
    rest.remove_prefix(2);
  }
  const bool is_float = base == 10 && rest.find_first_of(".eE") != rest.npos;
  if (base == 10 && !is_float && rest.size() > 1 && rest[0] == '0') base = 8;
  const auto digits = without_underscores(rest, base != 10);
  if (!digits || digits->empty()) return wrong;
  const char* const end = digits->data() + digits->size();
  if (is_float) {
    double number = 0;
    const auto parsed = std::from_chars(digits->data(), end, number);
    if (parsed.ec != std::errc() || parsed.ptr != end) return wrong;
    return Value(negative ? -number : number);
  }
  std::uint64_t size = 0;
  const auto parsed = std::from_chars(digits->data(), end, size, base);
  if (parsed.ptr != end) return wrong;
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (parsed.ec != std::errc() || size > kLargest + (negative ? 1 : 0)) {
    return invalid("integer overflow: " + go_quoted(literal));
  }
  return Value(static_cast<std::int64_t>(negative ? 0 - size : size));
}

Result<Value> parse_character_literal(std::string_view literal) {
  const Error wrong = invalid("malformed character constant: " + std::string(literal));
  std::string_view inside = literal.substr(1, literal.size() - 2);
  if (inside.empty()) return wrong;
  if (inside.front() == '\\') {
    inside.remove_prefix(1);
    const auto escape = take_escape(inside, '\'');
    if (!escape || !inside.empty()) return wrong;
    return Value(static_cast<std::int64_t>(escape->number));
  }
  if (character_bytes(inside) != inside.size()) return wrong;
  return Value(static_cast<std::int64_t>(first_utf8_character(inside).code));
}

}  // namespace drover::go_template
