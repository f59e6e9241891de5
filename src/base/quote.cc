#include "base/quote.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace drover {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// The code of a character of one to three bytes; of one of four, among which none is a control, any other.
std::uint32_t code_of(std::string_view character) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<std::uint8_t>(character[i])); };
  if (character.size() == 1) return byte(0);
  if (character.size() == 2) return (byte(0) & 0x1f) << 6 | (byte(1) & 0x3f);
  if (character.size() == 3) return (byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
  return 0xffff'ffff;
}

// What would begin a line, move the cursor, change colours, or show text in another order than it has.
bool is_control(std::uint32_t code) {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  if (code == 0x61c || code == 0x200e || code == 0x200f) return true;
  return (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

// `also`: characters that get a backslash.
void append_escaped(std::string& out, std::string_view text, std::string_view also) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  while (!text.empty()) {
    const std::size_t size = character_bytes(text);
    const std::string_view character = text.substr(0, size);
    const std::uint32_t code = size == 0 ? 0 : code_of(character);
    if (size == 0) {
      out += kReplacement;
    } else if (code == '\n') {
      out += "\\n";
    } else if (is_control(code)) {
      out += "\\u";
      for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[(code >> shift) & 15];
    } else {
      if (also.find(character.front()) != std::string_view::npos) out += '\\';
      out += character;
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
}

}  // namespace

std::size_t character_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const std::uint8_t second = byte(1);
  if (first == 0xe0 && second < 0xa0) return 0;
  if (first == 0xed && second >= 0xa0) return 0;
  if (first == 0xf0 && second < 0x90) return 0;
  if (first == 0xf4 && second >= 0x90) return 0;
  return size;
}

std::string valid_utf8(std::string_view text) {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (std::all_of(text.begin(), text.end(), is_ascii)) return std::string(text);
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = character_bytes(text);
    result += size > 0 ? text.substr(0, size) : kReplacement;
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return result;
}

std::string shortened(std::string_view text, std::size_t bytes_max) {
  const auto goes_on = [&](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80; };
  std::size_t end = std::min(text.size(), bytes_max);
  // A character has three such bytes at most: what has more is no UTF-8.
  while (end > 0 && end < text.size() && end + 3 > bytes_max && goes_on(end)) --end;
  std::string kept(text.substr(0, end));
  if (end < text.size()) kept += "... (" + std::to_string(text.size() - end) + " bytes more)";
  return kept;
}

void append_escaped(std::string& out, std::string_view text) {
  append_escaped(out, text, "");
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  append_escaped(out, text, "\"\\");
  out += '"';
}

}  // namespace drover
