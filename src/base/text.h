// Small things about text.
#pragma once

#include <string_view>

namespace drover {

inline constexpr std::string_view kBlanks = " \t\r\n";

// The text without those characters of `blanks` that it begins and ends with.
inline std::string_view trimmed(std::string_view text, std::string_view blanks = kBlanks) {
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) + 1 - first);
}

}  // namespace drover
