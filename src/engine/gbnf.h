// Combines grammars in GBNF, llama.cpp's format (see its grammars/README.md). Each has a rule "root".
#pragma once

#include <string>
#include <string_view>

namespace drover::gbnf {

// A text as a quoted literal of a grammar.
std::string literal(std::string_view text);

// The grammar with `prefix` before the name of each rule: "root" becomes `prefix` + "root".
std::string renamed(std::string_view grammar, std::string_view prefix);

// The body of the rule "root"; empty if there is none.
std::string root_of(std::string_view grammar);

// The grammar with another body for its rule "root".
std::string with_root(std::string_view grammar, std::string_view body);

// A grammar that accepts what either grammar accepts.
std::string either(std::string_view one, std::string_view other);

}  // namespace drover::gbnf
