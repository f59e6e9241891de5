// Whether a chat template in Jinja, from a file that anyone may have written, is within what the engine reads: its
// parser and what runs the template call themselves for each level of nesting, without a bound of their own.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace drover {

inline constexpr std::size_t kJinjaBytesMax = 1 << 20;
inline constexpr int kJinjaBlocksMax = 100;  // {% if %}, {% for %} … inside of each other; each {% elif %} is one more
inline constexpr int kJinjaBracketsMax = 100;     // inside of each other
inline constexpr int kJinjaTagTokensMax = 2'000;  // of one {{ … }} or {% … %}: a chain may be as deep as it is long

// A clause, as "has blocks that are nested more than 100 deep"; empty: it is within the bounds, though it may be no
// template at all, which the engine says. Takes time in proportion to the text.
std::string jinja_problem(std::string_view source);

}  // namespace drover
