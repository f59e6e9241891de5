// Small things about text. Letters are those of ASCII, whatever the locale.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace drover {

inline constexpr std::string_view kBlanks = " \t\r\n";

constexpr bool is_blank(char c) {
  return kBlanks.find(c) != std::string_view::npos;
}

constexpr char lower_case(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// -1: it is no hexadecimal digit. Takes a char and a code point.
constexpr int hex_value(char32_t c) {
  if (c >= '0' && c <= '9') return static_cast<int>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<int>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<int>(c - 'A') + 10;
  return -1;
}

inline std::string lower_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = lower_case(c);
  return result;
}

// Whether the texts are the same but for capitals.
inline bool equal_but_for_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower_case(x) == lower_case(y); });
}

// The text without those characters of `blanks` that it begins and ends with.
inline std::string_view trimmed(std::string_view text, std::string_view blanks = kBlanks) {
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) + 1 - first);
}

// How many bytes at the end of `text` are the start of `word`, but not all of it.
inline std::size_t partial_match(std::string_view text, std::string_view word) {
  if (word.empty()) return 0;
  for (std::size_t size = std::min(text.size(), word.size() - 1); size > 0; --size) {
    if (text.substr(text.size() - size) == word.substr(0, size)) return size;
  }
  return 0;
}

}  // namespace drover
