// UTF-8, read without trust and written. Text from outside may be cut within a character, or be no UTF-8 at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace drover {

// U+FFFD, which stands for what is no character.
inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

// Whether the byte continues a character that another byte begins.
constexpr bool is_utf8_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

// How many bytes the character at the front of `text` takes; 0 if there is none or it is no UTF-8. Overlong forms,
// surrogates and what lies beyond Unicode are none.
std::size_t character_bytes(std::string_view text);

// One character: the code point, and how many bytes it takes. Bytes that are no UTF-8 count one by one, as U+FFFD.
// `text` must not be empty.
struct Utf8Character {
  char32_t code = 0;
  std::size_t bytes = 0;
};
Utf8Character first_utf8_character(std::string_view text);

// How many bytes at the end of `text` are the beginning of a character whose rest is missing: 0 to 3.
std::size_t incomplete_utf8_bytes(std::string_view text);

// How many characters the text has, which should be UTF-8.
std::size_t character_count(std::string_view text);

// Appends the character with this number; what is no character becomes U+FFFD.
void append_utf8(std::string& text, std::int64_t code);

// The text with U+FFFD for each byte that is no part of UTF-8.
std::string valid_utf8(std::string_view text);

}  // namespace drover
