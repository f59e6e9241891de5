// Long lists of constants as grammars (GBNF).
#pragma once

#include <cstddef>
#include <string>

#include "base/json.h"

namespace drover::schema {

// A list up to this size is left to the converter, which makes an alternative of each value.
inline constexpr std::size_t kPlainEnumMax = 100;
// Characters of which one may come next. The engine's time for a token grows with the square of what may come next.
inline constexpr std::size_t kEnumBranchesMax = 1000;

// The rule `name` for one of `values`, of which there is at least one: "NAME ::= …\n". What values begin with alike is
// written once, so that the engine has no more to tell apart than there are characters that may come next. Empty:
// there are more of these than kEnumBranchesMax in one place. Takes time in proportion to the values' text.
std::string enum_rule(const Json& values, const std::string& name);

}  // namespace drover::schema
