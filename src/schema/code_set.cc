#include "schema/code_set.h"

#include <fmt/format.h>

#include <algorithm>

namespace drover::schema {

const CodeSet kDigits{{'0', '9'}};
const CodeSet kWords{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CodeSet kSpaces{{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                      {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const CodeSet kLineEnds{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

namespace {

// What must not stand in a JSON string as it is; halves of pairs cannot stand in UTF-8.
const CodeSet& escaped() {
  static const CodeSet set{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
  return set;
}
const CodeSet& halves() {
  static const CodeSet set{{0xD800, 0xDFFF}};
  return set;
}

constexpr std::pair<char32_t, char> kShortEscapes[] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                                       {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};

void append_code(std::string& out, char32_t code) {
  const bool plain = (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z');
  if (plain) {
    out += static_cast<char>(code);
  } else if (code <= 0xFF) {
    out += fmt::format("\\x{:02X}", static_cast<std::uint32_t>(code));
  } else if (code <= 0xFFFF) {
    out += fmt::format("\\u{:04X}", static_cast<std::uint32_t>(code));
  } else {
    out += fmt::format("\\U{:08X}", static_cast<std::uint32_t>(code));
  }
}

}  // namespace

CodeSet::CodeSet(std::initializer_list<std::pair<char32_t, char32_t>> ranges) : ranges_(ranges) {
  normalize();
}

void CodeSet::normalize() {
  std::sort(ranges_.begin(), ranges_.end());
  std::vector<std::pair<char32_t, char32_t>> merged;
  for (const auto& [first, last] : ranges_) {
    if (!merged.empty() && first <= merged.back().second + 1) {
      merged.back().second = std::max(merged.back().second, last);
    } else {
      merged.emplace_back(first, last);
    }
  }
  ranges_ = std::move(merged);
}

void CodeSet::append(const CodeSet& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
}

void CodeSet::add(const CodeSet& other) {
  append(other);
  normalize();
}

bool CodeSet::has(char32_t code) const {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [&](const auto& range) { return range.first <= code && code <= range.second; });
}

bool CodeSet::within(const CodeSet& other) const {
  return less(other).empty();
}

CodeSet CodeSet::inverted() const {
  CodeSet result;
  char32_t next = 0;
  for (const auto& [first, last] : ranges_) {
    if (first > next) result.ranges_.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next <= kLast) result.ranges_.emplace_back(next, kLast);
  return result;
}

CodeSet CodeSet::less(const CodeSet& other) const {
  CodeSet outside = inverted();
  outside.add(other);
  return outside.inverted();
}

std::string CodeSet::grammar() const {
  std::vector<std::string> choices;
  CodeSet plain = less(escaped()).less(halves());
  if (!plain.empty()) {
    const bool open = plain.ranges_.back().second == kLast;
    if (open) {
      plain = plain.inverted();
      plain = plain.less(halves());
    }
    std::string text = open ? "[^" : "[";
    for (const auto& [first, last] : plain.ranges_) {
      append_code(text, first);
      if (last == first) continue;
      text += '-';
      append_code(text, last);
    }
    choices.push_back(text + "]");
  }
  std::string letters;
  for (const auto& [code, letter] : kShortEscapes) {
    if (has(code)) letters += letter == '\\' ? std::string("\\\\") : std::string(1, letter);
  }
  if (!letters.empty()) choices.push_back("\"\\\\\" [" + letters + "]");
  if (choices.empty()) {
    for (char32_t code = 0; code < 0x20; ++code) {
      if (has(code)) choices.push_back(fmt::format("\"\\\\u{:04x}\"", static_cast<std::uint32_t>(code)));
    }
  }
  if (choices.empty()) return {};
  const bool one_item = choices.size() == 1 && choices.front().front() == '[';
  return one_item ? choices.front() : fmt::format("({})", fmt::join(choices, " | "));
}

}  // namespace drover::schema
