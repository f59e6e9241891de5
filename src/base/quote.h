// Text from anywhere as a JSON string, for logs.
#pragma once

#include <string>
#include <string_view>

namespace drover {

// Appends `text` as a JSON string with its quotes. Whatever the bytes are, the result is valid: what is no UTF-8
// becomes U+FFFD, control characters are escaped.
void append_quoted(std::string& out, std::string_view text);

}  // namespace drover
