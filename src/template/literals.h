// Go's literals as they stand in a template.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "template/value.h"

namespace drover::go_template {

// A string with the quotes it came in, double or back.
Result<std::string> parse_string_literal(std::string_view literal);

// An int or a double: decimal, 0x, 0o, 0b, underscores, exponents.
Result<Value> parse_number_literal(std::string_view literal);

// 'a' as the number of its character.
Result<Value> parse_character_literal(std::string_view literal);

}  // namespace drover::go_template
