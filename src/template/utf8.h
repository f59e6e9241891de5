// The two things that templates need to know about UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace drover::go_template {

// Bytes of the character at the front of the text; 0: there is none, or none that is valid.
std::size_t utf8_length(std::string_view text);

// Appends the character with this number; what is not a character becomes U+FFFD.
void append_utf8(std::string& text, std::int64_t rune);

}  // namespace drover::go_template
