// Two schemas as one that says what both say.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "base/json.h"

namespace drover::schema {

inline constexpr const char* kTypeNames[] = {"object", "array", "string", "integer", "number", "boolean", "null"};

// The value of a member; null if `schema` is no object or has none.
const Json* find(const Json& schema, const char* name);
bool is_true(const Json* value);
std::string text_of(const Json& schema, const char* name);  // empty if it is no string

// Whether a member says something about values, rather than about the schema.
bool binds(const std::string& keyword);
int said(const Json& schema);  // how many members do
bool says_something(const Json& schema);

// The types that `type` and `nullable` allow; all of them if there is no `type`. An integer is a number too: "integer"
// is there only where "number" is not.
std::set<std::string> types_of(const Json& schema);
// The first type that is no type's name; empty: none.
std::string unknown_type(const Json& schema);

// Without a type a schema is read as one for the kind of value that it speaks of: these. Empty: it speaks of none.
std::set<std::string> types_meant(const Json& schema);
// The properties that an object has to have. Calls `lost` with a keyword that is not kept, and why.
using LostFor = std::function<void(const std::string& keyword, const char* why)>;
std::set<std::string> required_names(const Json& schema, const LostFor& lost);

// What a keyword's two values come to. Calls `lost` with the name of a keyword of which only one value is kept.
Json merged(const Json& first, const Json& second, const std::function<void(const std::string&)>& lost);

// Whether no value satisfies both, as far as types, constants and required properties say. `resolve` follows a
// reference (null: nowhere).
using Resolve = std::function<const Json*(const Json&)>;
bool exclude_each_other(const Json& first, const Json& second, const Resolve& resolve, int depth = 0);

}  // namespace drover::schema
