#include "base/quote.h"

#include <algorithm>

#include "base/utf8.h"

namespace drover {
namespace {

// What would begin a line, move the cursor, change colours, or show text in another order than it has.
bool is_control(char32_t code) {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  if (code == 0x61c || code == 0x200e || code == 0x200f) return true;
  return (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

// `also`: characters that get a backslash.
void append_escaped(std::string& out, std::string_view text, std::string_view also) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  while (!text.empty()) {
    const Utf8Character character = first_utf8_character(text);
    const std::string_view bytes = text.substr(0, character.bytes);
    const char32_t code = character.code;
    if (code == '\n') {
      out += "\\n";
    } else if (is_control(code)) {
      out += "\\u";
      for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[(code >> shift) & 15];
    } else {
      if (also.find(bytes.front()) != std::string_view::npos) out += '\\';
      out += code == 0xfffd ? kReplacementCharacter : bytes;
    }
    text.remove_prefix(bytes.size());
  }
}

}  // namespace

std::string shortened(std::string_view text, std::size_t bytes_max) {
  std::size_t end = std::min(text.size(), bytes_max);
  // A character has three such bytes at most: what has more is no UTF-8.
  while (end > 0 && end < text.size() && end + 3 > bytes_max && is_utf8_continuation(text[end])) --end;
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
