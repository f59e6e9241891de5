// Text from anywhere as a JSON string, for logs.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace drover {

// Appends `text` as a JSON string with its quotes. Whatever the bytes are, the result is valid: what is no UTF-8
// becomes U+FFFD, control characters are escaped.
void append_quoted(std::string& out, std::string_view text);

// How many bytes the character at the front of `text` takes, which must not be empty; 0 if it is no UTF-8. Overlong
// forms, surrogates and what lies beyond Unicode are none.
std::size_t character_bytes(std::string_view text);

}  // namespace drover
