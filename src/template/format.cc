#include "template/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>

#include "base/utf8.h"

namespace drover::go_template {
namespace {

constexpr std::size_t kMessageBytesMax = 200;
// Go's own limit for the width and the precision of a verb.
constexpr int kWidthMax = 1'000'000;

// The shortest digits that read back as the same double, 0.ddd… times 10 to the power of `point`.
struct Digits {
  bool negative = false;
  std::string digits;
  int point = 0;
};

Digits shortest_digits(double value) {
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  Digits result;
  if (text.front() == '-') {
    result.negative = true;
    text.remove_prefix(1);
  }
  const std::size_t e = text.find('e');
  for (const char c : text.substr(0, e)) {
    if (c != '.') result.digits += c;
  }
  const bool exponent_negative = text[e + 1] == '-';
  int exponent = 0;
  std::from_chars(text.data() + e + 2, text.data() + text.size(), exponent);
  result.point = (exponent_negative ? -exponent : exponent) + 1;
  return result;
}

std::string fixed_notation(const Digits& d) {
  std::string text = d.negative ? "-" : "";
  const int count = static_cast<int>(d.digits.size());
  if (d.point <= 0) {
    text += "0." + std::string(static_cast<std::size_t>(-d.point), '0') + d.digits;
  } else if (d.point >= count) {
    text += d.digits + std::string(static_cast<std::size_t>(d.point - count), '0');
  } else {
    text += d.digits.substr(0, static_cast<std::size_t>(d.point)) + "." +
            d.digits.substr(static_cast<std::size_t>(d.point));
  }
  if (d.digits == "0") return d.negative ? "-0" : "0";
  return text;
}

std::string scientific_notation(const Digits& d, int exponent_digits_min) {
  std::string text = d.negative ? "-" : "";
  text += d.digits.substr(0, 1);
  if (d.digits.size() > 1) text += "." + d.digits.substr(1);
  const int exponent = d.point - 1;
  return text + fmt::format("e{}{:0{}}", exponent < 0 ? '-' : '+', std::abs(exponent), exponent_digits_min);
}

// As %v: the exponent form below 1e-04 and from 1e+06 up.
std::string general_float(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  const Digits d = shortest_digits(value);
  const int exponent = d.point - 1;
  return value != 0 && (exponent < -4 || exponent >= 6) ? scientific_notation(d, 2) : fixed_notation(d);
}

std::string json_float(double value) {
  if (!std::isfinite(value)) return "null";
  const Digits d = shortest_digits(value);
  const double size = std::abs(value);
  return size != 0 && (size < 1e-6 || size >= 1e21) ? scientific_notation(d, 1) : fixed_notation(d);
}

void append_json_string(BoundedText& text, std::string_view value) {
  text.append('"');
  while (!value.empty()) {
    const std::size_t length = character_bytes(value);
    const std::string_view rune = value.substr(0, length == 0 ? 1 : length);
    value.remove_prefix(rune.size());
    const char c = rune.front();
    if (length == 0) {
      text.append("\\ufffd");
    } else if (length > 1) {
      const bool separates_lines = rune == "\xE2\x80\xA8" || rune == "\xE2\x80\xA9";
      text.append(!separates_lines ? rune : rune.back() == '\xA8' ? "\\u2028" : "\\u2029");
    } else if (c == '"' || c == '\\') {
      text.append('\\');
      text.append(c);
    } else if (c == '\n' || c == '\r' || c == '\t' || c == '\b' || c == '\f') {
      text.append('\\');
      text.append(c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c == '\b' ? 'b' : 'f');
    } else if (static_cast<unsigned char>(c) < 0x20 || c == '<' || c == '>' || c == '&') {
      text.append(fmt::format("\\u{:04x}", static_cast<unsigned>(c)));
    } else {
      text.append(c);
    }
  }
  text.append('"');
}

bool is_omitted(const RecordType::Field& field, const Value& value) {
  switch (field.omit) {
    case RecordType::Omit::kNever:
      return false;
    case RecordType::Omit::kNil:
      return value.is_nil();
    case RecordType::Omit::kEmpty:
      return !value.truth();
  }
  return false;
}

struct JsonWriter {
  BoundedText& text;

  void operator()(std::monostate) const { text.append("null"); }
  void operator()(bool value) const { text.append(value ? "true" : "false"); }
  void operator()(std::int64_t value) const { text.append(fmt::format_int(value).c_str()); }
  void operator()(double value) const { text.append(json_float(value)); }
  void operator()(const Text& value) const { append_json_string(text, value.view()); }
  void operator()(const List& list) const {
    if (!list.items) return text.append("null");
    if (list.printing == Printing::kSingle && list.size() == 1) return append_json(text, list[0]);
    text.append('[');
    for (std::size_t i = 0; i < list.size() && !text.cut(); ++i) {
      if (i > 0) text.append(',');
      append_json(text, list[i]);
    }
    text.append(']');
  }
  void operator()(const Map& map) const {
    if (!map.entries) return text.append("null");
    text.append('{');
    bool first = true;
    for (const auto& [key, value] : *map.entries) {
      if (text.cut()) break;
      append_member(key, value, first);
    }
    text.append('}');
  }
  void operator()(const Record& record) const {
    text.append('{');
    bool first = true;
    for (std::size_t i = 0; i < record.type->fields.size(); ++i) {
      const RecordType::Field& field = record.type->fields[i];
      const Value& value = (*record.fields)[i];
      if (!is_omitted(field, value)) append_member(field.json_name, value, first);
    }
    text.append('}');
  }

  void append_member(std::string_view key, const Value& value, bool& first) const {
    if (!first) text.append(',');
    first = false;
    append_json_string(text, key);
    text.append(':');
    append_json(text, value);
  }
};

struct ValueWriter {
  BoundedText& text;

  void operator()(std::monostate) const { text.append("<nil>"); }
  void operator()(bool value) const { text.append(value ? "true" : "false"); }
  void operator()(std::int64_t value) const { text.append(fmt::format_int(value).c_str()); }
  void operator()(double value) const { text.append(general_float(value)); }
  void operator()(const Text& value) const { text.append(value.view()); }
  void operator()(const List& list) const {
    if (list.printing == Printing::kJson) return JsonWriter{text}(list);
    if (list.printing == Printing::kSingle && list.size() == 0) return;
    if (list.printing == Printing::kSingle && list.size() == 1) return append_value(text, list[0]);
    text.append('[');
    for (std::size_t i = 0; i < list.size() && !text.cut(); ++i) {
      if (i > 0) text.append(' ');
      append_value(text, list[i]);
    }
    text.append(']');
  }
  void operator()(const Map& map) const {
    if (map.printing == Printing::kJson) return map.entries ? JsonWriter{text}(map) : text.append("{}");
    text.append("map[");
    for (std::size_t i = 0; i < map.size() && !text.cut(); ++i) {
      if (i > 0) text.append(' ');
      text.append((*map.entries)[i].first);
      text.append(':');
      append_value(text, (*map.entries)[i].second);
    }
    text.append(']');
  }
  void operator()(const Record& record) const {
    if (record.type->printing == Printing::kJson) return JsonWriter{text}(record);
    text.append('{');
    for (std::size_t i = 0; i < record.fields->size(); ++i) {
      if (i > 0) text.append(' ');
      append_value(text, (*record.fields)[i]);
    }
    text.append('}');
  }
};

// One verb of a format: what stands between the % and the letter, and the letter.
struct Verb {
  bool minus = false, plus = false, sharp = false, space = false, zero = false;
  int width = 0;
  int precision = -1;
  std::string_view letter;  // one character of UTF-8; empty: the format ended
};

// Reads the digits at the front of the format. False: the number is beyond kWidthMax.
bool take_number(std::string_view& format, int& number) {
  number = 0;
  bool fits = true;
  while (!format.empty() && format.front() >= '0' && format.front() <= '9') {
    number = number * 10 + (format.front() - '0');
    if (number > kWidthMax) {
      fits = false;
      number = kWidthMax;
    }
    format.remove_prefix(1);
  }
  return fits;
}

Verb take_verb(BoundedText& text, std::string_view& format) {
  Verb verb;
  for (; !format.empty(); format.remove_prefix(1)) {
    const char c = format.front();
    bool* const flag = c == '-'   ? &verb.minus
                       : c == '+' ? &verb.plus
                       : c == '#' ? &verb.sharp
                       : c == ' ' ? &verb.space
                       : c == '0' ? &verb.zero
                                  : nullptr;
    if (flag == nullptr) break;
    *flag = true;
  }
  if (!take_number(format, verb.width)) {
    text.append("%!(BADWIDTH)");
    verb.width = 0;
  }
  if (!format.empty() && format.front() == '.') {
    format.remove_prefix(1);
    if (!take_number(format, verb.precision)) {
      text.append("%!(BADPREC)");
      verb.precision = -1;
    }
  }
  if (!format.empty()) {
    const std::size_t length = character_bytes(format);
    verb.letter = format.substr(0, length == 0 ? 1 : length);
    format.remove_prefix(verb.letter.size());
  }
  return verb;
}

void append_padded(BoundedText& text, const Verb& verb, std::string_view shown, bool is_number) {
  const std::size_t length = character_count(shown);
  const std::size_t width = static_cast<std::size_t>(verb.width);
  const std::size_t padding = width > length ? width - length : 0;
  if (verb.minus) {
    text.append(shown);
    text.append(padding, ' ');
    return;
  }
  if (verb.zero && is_number && !shown.empty() && (shown.front() == '-' || shown.front() == '+')) {
    text.append(shown.front());
    text.append(padding, '0');
    text.append(shown.substr(1));
    return;
  }
  text.append(padding, verb.zero && is_number ? '0' : ' ');
  text.append(shown);
}

std::string shown_integer(const Verb& verb, char letter, std::int64_t value) {
  const std::uint64_t size = value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  std::string text;
  switch (letter) {
    case 'x':
      text = fmt::format("{}{:x}", verb.sharp ? "0x" : "", size);
      break;
    case 'X':
      text = fmt::format("{}{:X}", verb.sharp ? "0X" : "", size);
      break;
    case 'o':
      text = fmt::format("{}{:o}", verb.sharp ? "0" : "", size);
      break;
    case 'b':
      text = fmt::format("{}{:b}", verb.sharp ? "0b" : "", size);
      break;
    default:
      text = fmt::format("{}", size);
  }
  const std::string sign = value < 0 ? "-" : verb.plus ? "+" : verb.space ? " " : "";
  return sign + text;
}

std::string shown_float(const Verb& verb, char letter, double value) {
  constexpr int kPrecisionMax = 1000;  // a double has no more digits than that
  std::string text;
  if (letter == 'v') letter = 'g';
  if (!std::isfinite(value) || (letter == 'g' && verb.precision < 0)) {
    text = general_float(value);
  } else {
    const int precision = std::min(verb.precision < 0 ? 6 : verb.precision, kPrecisionMax);
    text = letter == 'e'   ? fmt::format("{:.{}e}", value, precision)
           : letter == 'f' ? fmt::format("{:.{}f}", value, precision)
                           : fmt::format("{:.{}g}", value, precision);
  }
  if (text.front() != '-' && text.front() != '+') text.insert(0, verb.plus ? "+" : verb.space ? " " : "");
  return text;
}

std::string hex_bytes(std::string_view bytes, bool upper) {
  std::string text;
  for (const char c : bytes) {
    text += upper ? fmt::format("{:02X}", static_cast<unsigned char>(c))
                  : fmt::format("{:02x}", static_cast<unsigned char>(c));
  }
  return text;
}

// The value does not go with the verb: %!d(string=x).
void append_misfit(BoundedText& text, const Verb& verb, const Value& value) {
  text.append("%!");
  text.append(verb.letter);
  text.append('(');
  if (value.get_if<std::monostate>() == nullptr) {
    text.append(value.type_name());
    text.append('=');
  }
  append_value(text, value);
  text.append(')');
}

// The text of a string operand, or of one that shows itself as JSON.
void append_text_verb(BoundedText& text, const Verb& verb, char letter, std::string_view value) {
  if (verb.precision >= 0) {
    std::size_t bytes = 0;
    for (int runes = 0; bytes < value.size() && runes < verb.precision; ++runes) {
      bytes += std::max<std::size_t>(character_bytes(value.substr(bytes)), 1);
    }
    value = value.substr(0, bytes);
  }
  switch (letter) {
    case 'q': {
      BoundedText inner(std::size_t{4} * value.size() + 16);
      append_quoted(inner, value);
      return append_padded(text, verb, std::move(inner).take(), false);
    }
    case 'x':
    case 'X':
      return append_padded(text, verb, hex_bytes(value, letter == 'X'), false);
    default:
      return append_padded(text, verb, value, false);
  }
}

void append_verb(BoundedText& text, const Verb& verb, const Value& value) {
  const char letter = verb.letter.size() == 1 ? verb.letter.front() : '\0';
  const auto is = [&](std::string_view letters) { return letter != '\0' && letters.find(letter) != letters.npos; };
  if (const auto* string = value.get_if<Text>(); string != nullptr && is("vsqxX")) {
    return append_text_verb(text, verb, letter, string->view());
  }
  if (const auto* number = value.get_if<std::int64_t>()) {
    if (is("vdxXob")) return append_padded(text, verb, shown_integer(verb, letter, *number), true);
    if (is("cq")) {
      std::string rune;
      append_utf8(rune, *number);
      return append_padded(text, verb, letter == 'c' ? rune : "'" + rune + "'", false);
    }
    return append_misfit(text, verb, value);
  }
  if (const auto* number = value.get_if<double>(); number != nullptr && is("vefg")) {
    return append_padded(text, verb, shown_float(verb, letter, *number), true);
  }
  if (const auto* truth = value.get_if<bool>(); truth != nullptr && is("vt")) {
    return append_padded(text, verb, *truth ? "true" : "false", false);
  }
  const bool is_composite = value.get_if<List>() || value.get_if<Map>() || value.get_if<Record>();
  if (is("v") || (is("s") && is_composite)) return append_value(text, value);
  append_misfit(text, verb, value);
}

}  // namespace

void append_value(BoundedText& text, const Value& value) {
  std::visit(ValueWriter{text}, value.data());
}

void append_json(BoundedText& text, const Value& value) {
  std::visit(JsonWriter{text}, value.data());
}

void append_quoted(BoundedText& text, std::string_view value) {
  text.append('"');
  while (!value.empty() && !text.cut()) {
    const std::size_t length = character_bytes(value);
    const std::string_view rune = value.substr(0, length == 0 ? 1 : length);
    value.remove_prefix(rune.size());
    const char c = rune.front();
    constexpr std::string_view kControls = "\a\b\f\n\r\t\v";
    if (length > 1) {
      text.append(rune);
    } else if (c == '"' || c == '\\') {
      text.append('\\');
      text.append(c);
    } else if (const std::size_t control = kControls.find(c); control != kControls.npos) {
      text.append('\\');
      text.append("abfnrtv"[control]);
    } else if (length == 0 || static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      text.append(fmt::format("\\x{:02x}", static_cast<unsigned char>(c)));
    } else {
      text.append(c);
    }
  }
  text.append('"');
}

void append_print(BoundedText& text, std::span<const Value> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool spaced = i > 0 && !values[i].get_if<Text>() && !values[i - 1].get_if<Text>();
    if (spaced) text.append(' ');
    append_value(text, values[i]);
  }
}

void append_println(BoundedText& text, std::span<const Value> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text.append(' ');
    append_value(text, values[i]);
  }
  text.append('\n');
}

void append_printf(BoundedText& text, std::string_view format, std::span<const Value> values) {
  std::size_t used = 0;
  while (!format.empty() && !text.cut()) {
    const std::size_t percent = std::min(format.find('%'), format.size());
    text.append(format.substr(0, percent));
    format.remove_prefix(percent);
    if (format.empty()) break;
    format.remove_prefix(1);
    const Verb verb = take_verb(text, format);
    if (verb.letter.empty()) {
      text.append("%!(NOVERB)");
    } else if (verb.letter == "%") {
      text.append('%');
    } else if (used == values.size()) {
      text.append("%!");
      text.append(verb.letter);
      text.append("(MISSING)");
    } else {
      append_verb(text, verb, values[used++]);
    }
  }
  if (used == values.size() || text.cut()) return;
  text.append("%!(EXTRA ");
  for (std::size_t i = used; i < values.size(); ++i) {
    if (i > used) text.append(", ");
    if (values[i].get_if<std::monostate>() == nullptr) {
      text.append(values[i].type_name());
      text.append('=');
    }
    append_value(text, values[i]);
  }
  text.append(')');
}

std::string go_quoted(std::string_view value) {
  BoundedText text(kMessageBytesMax);
  append_quoted(text, value);
  return std::move(text).take();
}

std::string shown(const Value& value) {
  BoundedText text(kMessageBytesMax);
  append_value(text, value);
  return std::move(text).take();
}

}  // namespace drover::go_template
