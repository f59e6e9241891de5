// Regular expressions of JSON schemas (ECMAScript's) as grammars (GBNF) of the JSON strings that match them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace drover::schema {

// A greatest count above this is taken for none by the engine's grammars.
inline constexpr int kRepetitionMax = 2000;

// How many characters a string may have; none: no bound.
struct Lengths {
  int min = 0;
  std::optional<int> max;
};

struct PatternRules {
  enum class Fault {
    kNone,
    kInvalid,      // it is no regular expression
    kUnsupported,  // it is one that no grammar of this kind holds: looks ahead, refers back, …
    kNothing,      // no string matches it within the lengths
  } fault = Fault::kNone;
  std::string problem;  // why, if there is a fault: a clause
  std::string text;     // "NAME ::= …\n", and further rules whose names begin with NAME
  int repetitions = 0;  // rules that the engine makes of counts
  bool lengths_kept = true;
};

// The rule `name` for all JSON strings, quotes included, whose value matches `pattern` somewhere, as a schema means it:
// anchors bind it to the ends. Every string of the grammar matches; control characters that JSON has no short escape
// for are left out where others fit, and digits in a row have an end. Time and size grow with the pattern's length,
// which the caller bounds.
PatternRules pattern_rules(std::string_view pattern, const Lengths& lengths, const std::string& name);

}  // namespace drover::schema
