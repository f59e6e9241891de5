// Small things about text.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace drover {

inline constexpr std::string_view kBlanks = " \t\r\n";

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
