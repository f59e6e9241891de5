// Bounds of numbers as grammars (GBNF).
#pragma once

#include <optional>
#include <string>

#include "base/json.h"

namespace drover::schema {

// A number as it is written: [-]whole.fraction, without zeros that mean nothing; zero is not negative.
struct Decimal {
  bool negative = false;
  std::string whole = "0";
  std::string fraction;

  bool zero() const { return whole == "0" && fraction.empty(); }
};

// Nothing if it has more than 40 digits on a side, or is no number.
std::optional<Decimal> decimal_of(const Json& number);

struct NumberBounds {
  bool integer = false;
  std::optional<Decimal> min;
  std::optional<Decimal> max;
  bool min_excluded = false;
  bool max_excluded = false;
  std::optional<Decimal> multiple_of;
};

struct NumberRules {
  std::string text;  // "NAME ::= …\n" and further rules whose names begin with NAME; empty: no such number
  bool multiple_of_kept = false;  // what it takes besides the bounds
};

// The rule `name` for the numbers within the bounds. Every number of the grammar is within them; they are written
// without an exponent, with up to 16 digits on a side, or as many as the bounds have.
NumberRules number_rules(const NumberBounds& bounds, const std::string& name);

}  // namespace drover::schema
