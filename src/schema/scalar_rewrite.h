// Schemas of strings and numbers, and of constants.
#pragma once

#include <string>

#include "schema/rule_book.h"

namespace drover::schema {

struct Scalar {
  bool possible = true;  // some value is valid
  std::string rule;      // the definition that stands for it; empty: `schema` says all
  Json schema;           // of its type
};

// `flat` has no references, alternatives or allOf any more.
Scalar rewrite_string(const Json& flat, RuleBook& book);
Scalar rewrite_number(const Json& flat, bool integer, RuleBook& book);

// Whether this is a format of strings that is kept.
bool is_string_format(const std::string& name);

// Whether a constant satisfies what is said beside it.
bool may_be(const Json& value, const Json& flat, RuleBook& book);

}  // namespace drover::schema
