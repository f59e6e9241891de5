#include "base/utf8.h"

#include <algorithm>

#include "base/check.h"

namespace drover {
namespace {

// How many bytes a character has that begins with `first`; 0 if none does.
std::size_t bytes_after(std::uint8_t first) {
  if (first < 0x80) return 1;
  if (first < 0xc2) return 0;
  if (first < 0xe0) return 2;
  if (first < 0xf0) return 3;
  return first < 0xf5 ? 4 : 0;
}

}  // namespace

std::size_t character_bytes(std::string_view text) {
  if (text.empty()) return 0;
  const auto first = static_cast<std::uint8_t>(text.front());
  const std::size_t size = bytes_after(first);
  if (size <= 1) return size;
  if (text.size() < size || !std::all_of(text.begin() + 1, text.begin() + size, is_utf8_continuation)) return 0;
  const auto second = static_cast<std::uint8_t>(text[1]);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0)) return 0;  // overlong; a surrogate
  if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90)) return 0;  // overlong; beyond Unicode
  return size;
}

Utf8Character first_utf8_character(std::string_view text) {
  DROVER_CHECK(!text.empty());
  const std::size_t size = character_bytes(text);
  if (size == 0) return {0xfffd, 1};
  // The first byte carries what its length mark leaves, each other byte six bits.
  const auto first = static_cast<std::uint8_t>(text.front());
  char32_t code = size == 1 ? first : first & (0x7fu >> size);
  for (const char byte : text.substr(1, size - 1)) code = code << 6 | (static_cast<std::uint8_t>(byte) & 0x3fu);
  return {code, size};
}

std::size_t incomplete_utf8_bytes(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const char byte = text[text.size() - back];
    if (is_utf8_continuation(byte)) continue;
    return bytes_after(static_cast<std::uint8_t>(byte)) > back ? back : 0;
  }
  return 0;
}

std::size_t character_count(std::string_view text) {
  return text.size() - static_cast<std::size_t>(std::count_if(text.begin(), text.end(), is_utf8_continuation));
}

void append_utf8(std::string& text, std::int64_t code) {
  if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
    text += kReplacementCharacter;
    return;
  }
  const auto add = [&](std::int64_t byte) { text += static_cast<char>(byte); };
  const auto tail = [&](int shift) { add(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xc0 | code >> 6);
    tail(0);
  } else if (code < 0x10000) {
    add(0xe0 | code >> 12);
    tail(6);
    tail(0);
  } else {
    add(0xf0 | code >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string valid_utf8(std::string_view text) {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (std::all_of(text.begin(), text.end(), is_ascii)) return std::string(text);
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = character_bytes(text);
    result += size > 0 ? text.substr(0, size) : kReplacementCharacter;
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return result;
}

}  // namespace drover
