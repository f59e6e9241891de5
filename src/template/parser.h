// The grammar of Go's text/template, with its scopes and its words for what is wrong.
#pragma once

#include <string_view>

#include "base/result.h"
#include "template/syntax.h"

namespace drover::go_template {

// Error: kInvalidArgument, as Go says it: `template: :3: unexpected "}" in operand`, the number being the line. A
// source of more than 256 KiB or with more than 100 levels of nesting is refused as well.
Result<SyntaxTree> parse_syntax(std::string_view source);

}  // namespace drover::go_template
