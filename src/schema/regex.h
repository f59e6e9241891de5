// What a regular expression says, as a tree.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "schema/code_set.h"

namespace drover::schema {

struct Regex {
  enum class Kind {
    kSet,       // one character of `set`
    kSequence,  // its parts, one after the other
    kChoice,    // one of its parts
    kRepeat,    // its only part, from `min` to `max` times; max < 0: without a bound
    kStart,     // ^
    kEnd,       // $
    kBoundary,  // \b
  } kind = Kind::kSequence;
  CodeSet set = {};
  std::vector<Regex> parts = {};
  int min = 0;
  int max = 0;
};

// Why a pattern cannot be used.
struct RegexFault {
  bool invalid = false;  // it is no regular expression; otherwise one that is not supported
  std::string problem;   // a clause
};

// Reads ECMAScript's syntax with Unicode characters. Throws RegexFault.
Regex parse_regex(std::string_view pattern);

}  // namespace drover::schema
