// Text from anywhere: for logs, as one line that does nothing to a terminal and as a JSON string.
#pragma once

#include <string>
#include <string_view>

namespace drover {

// Appends `text` so that whatever its bytes are, it stays on its line and shows as what it is: what is no UTF-8 becomes
// U+FFFD; control characters (C0, DEL, C1), the separators of lines and paragraphs and what turns the direction of text
// are written as JSON escapes them ("\n", "\u001b", "\u202e").
void append_escaped(std::string& out, std::string_view text);

// Appends `text` as a JSON string with its quotes: as append_escaped() does, quotes and backslashes escaped too.
void append_quoted(std::string& out, std::string_view text);

// The text, or so many of its bytes (at most; none of a character is cut) and how many more there are.
std::string shortened(std::string_view text, std::size_t bytes_max);

}  // namespace drover
