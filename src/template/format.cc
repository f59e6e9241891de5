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
constexpr std::size_t kWidthDigitsMax = 3;

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

// One verb of a format: "%-12s".
struct Verb {
  char letter = 0;
  bool left = false;  // spaces behind the value, and not before it
  std::size_t width = 0;
};

// Takes the verb that the format begins with.
Result<Verb> take_verb(std::string_view& format) {
  constexpr std::string_view kDigits = "0123456789";
  const std::size_t end = format.find_first_not_of("+-# .0123456789", 1);
  if (end == format.npos) return invalid("the format ends in the middle of a verb: " + go_quoted(format));
  const std::size_t length = std::max<std::size_t>(character_bytes(format.substr(end)), 1);
  const std::string_view whole = format.substr(0, end + length);
  format.remove_prefix(whole.size());
  Verb verb;
  verb.letter = whole[end];
  std::string_view between = whole.substr(1, end - 1);
  verb.left = between.starts_with('-');
  if (verb.left) between.remove_prefix(1);
  const bool known = std::string_view("sdvq").find(verb.letter) != std::string_view::npos || whole == "%%";
  if (!known || between.starts_with('0') || between.find_first_not_of(kDigits) != between.npos) {
    return invalid(fmt::format("{} is not supported: there are %s, %d, %v, %q and %%, with a width and a minus sign",
                               go_quoted(whole)));
  }
  if (between.size() > kWidthDigitsMax) return invalid(go_quoted(whole) + " is too wide: 999 is the most");
  std::from_chars(between.data(), between.data() + between.size(), verb.width);
  return verb;
}

void append_padded(BoundedText& text, const Verb& verb, std::string_view shown) {
  const std::size_t length = character_count(shown);
  const std::size_t padding = verb.width > length ? verb.width - length : 0;
  if (!verb.left) text.append(padding, ' ');
  text.append(shown);
  if (verb.left) text.append(padding, ' ');
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

void append_verb(BoundedText& text, const Verb& verb, const Value& value) {
  const char letter = verb.letter;
  if (const auto* string = value.get_if<Text>(); string != nullptr && letter != 'd') {
    if (letter != 'q') return append_padded(text, verb, string->view());
    BoundedText quoted(std::size_t{4} * string->view().size() + 2);
    append_quoted(quoted, string->view());
    return append_padded(text, verb, std::move(quoted).take());
  }
  if (const auto* number = value.get_if<std::int64_t>(); number != nullptr && (letter == 'd' || letter == 'v')) {
    return append_padded(text, verb, fmt::format_int(*number).c_str());
  }
  const bool is_composite = value.get_if<List>() || value.get_if<Map>() || value.get_if<Record>();
  if (letter == 'v' && !is_composite) return append_padded(text, verb, shown(value));
  if (letter == 'v' || (letter == 's' && is_composite)) return append_value(text, value);
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

Result<void> append_printf(BoundedText& text, std::string_view format, std::span<const Value> values) {
  std::size_t used = 0;
  while (!text.cut()) {
    const std::size_t percent = std::min(format.find('%'), format.size());
    text.append(format.substr(0, percent));
    format.remove_prefix(percent);
    if (format.empty()) break;
    const std::string_view rest = format;
    const Result<Verb> verb = take_verb(format);
    if (!verb) return verb.error();
    if (verb->letter == '%') {
      text.append('%');
    } else if (used == values.size()) {
      return invalid(fmt::format("there is no value for {}", go_quoted(rest.substr(0, rest.size() - format.size()))));
    } else {
      append_verb(text, *verb, values[used++]);
    }
  }
  if (used < values.size() && !text.cut()) {
    return invalid(fmt::format("there are {} values for {} verbs", values.size(), used));
  }
  return {};
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
