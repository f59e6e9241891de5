// How values become text: Go's fmt (print, printf, println and what {{ . }} shows) and its encoding/json.
//
// Pure functions. Each appends to a BoundedText; where that is cut, the work still done is no more than walking the
// arguments once.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "template/bounded_text.h"
#include "template/value.h"

namespace drover::go_template {

// As fmt's %v; nil is <nil>.
void append_value(BoundedText& text, const Value& value);

// As encoding/json: no spaces; <, > and & as \u003c, \u003e and \u0026; doubles as in JavaScript.
void append_json(BoundedText& text, const Value& value);

// As fmt's %q: in double quotes, with Go's escapes.
void append_quoted(BoundedText& text, std::string_view value);

// fmt.Sprint (a space between two operands if neither is a string) and fmt.Sprintln (always, and a newline).
void append_print(BoundedText& text, std::span<const Value> values);
void append_println(BoundedText& text, std::span<const Value> values);

// fmt.Sprintf with the verbs that templates of models use: %s, %d, %v, %q of strings and %%, with a width of up to 999
// and a minus sign. A value that a verb does not take is written as Go does, because values are data: %!d(string=x).
// Errors: kInvalidArgument if the format has another verb (it is named), or more or fewer verbs than there are values.
Result<void> append_printf(BoundedText& text, std::string_view format, std::span<const Value> values);

// The two above as plain strings, for messages.
std::string go_quoted(std::string_view value);
std::string shown(const Value& value);

}  // namespace drover::go_template
