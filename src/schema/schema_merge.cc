#include "schema/schema_merge.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <vector>

#include "schema/scalar_rewrite.h"

namespace drover::schema {
namespace {

constexpr int kReferencesMax = 8;

// Members that say nothing about values.
const std::set<std::string_view>& annotations() {
  static const std::set<std::string_view> names{
      "$schema",          "$id",        "id",          "$comment", "$anchor",   "$dynamicAnchor",
      "$recursiveAnchor", "$defs",      "title",       "default",  "examples",  "definitions",
      "description",      "deprecated", "example",     "readOnly", "writeOnly", "$vocabulary",
      "discriminator",    "xml",        "externalDocs"};
  return names;
}

bool is_least(std::string_view name) {
  return name == "minLength" || name == "minItems" || name == "minProperties" || name == "minimum" ||
         name == "exclusiveMinimum" || name == "minContains";
}

bool is_most(std::string_view name) {
  return name == "maxLength" || name == "maxItems" || name == "maxProperties" || name == "maximum" ||
         name == "exclusiveMaximum";
}

Json both(const Json& first, const Json& second) {
  if (first == true || first == second) return second;
  if (second == true) return first;
  return {{"allOf", Json::array({first, second})}};
}

Json names_of(const std::set<std::string>& types) {
  Json names = Json::array();
  for (const std::string& type : types) names.push_back(type);
  return names.size() == 1 ? names.front() : names;
}

// What an object schema says of a property that it does not name.
Json of_other(const Json& schema) {
  const Json* additional = find(schema, "additionalProperties");
  if (additional == nullptr || find(schema, "patternProperties") != nullptr) return true;
  return *additional;
}

bool requires_name(const Json& schema, const std::string& name) {
  const Json* names = find(schema, "required");
  return names != nullptr && names->is_array() && std::find(names->begin(), names->end(), Json(name)) != names->end();
}

using Lost = std::function<void(const std::string&)>;

Json properties_of(const Json& first, const Json& second, const Lost& lost) {
  Json properties = Json::object();
  const Json none = Json::object();
  const Json* mine = find(first, "properties");
  const Json* theirs = find(second, "properties");
  if (mine == nullptr || !mine->is_object()) mine = &none;
  if (theirs == nullptr || !theirs->is_object()) theirs = &none;
  // Two closed objects that ask for different properties are a common slip, and not meant.
  const auto of_one = [&](const Json& owner, const std::string& name, const Json& schema, const Json& other) {
    Json beside = of_other(other);
    if (beside == false && requires_name(owner, name)) {
      lost("additionalProperties");
      beside = true;
    }
    return both(schema, beside);
  };
  for (const auto& [name, schema] : mine->items()) {
    const Json* other = find(*theirs, name.c_str());
    properties[name] = other != nullptr ? both(schema, *other) : of_one(first, name, schema, second);
  }
  for (const auto& [name, schema] : theirs->items()) {
    if (!properties.contains(name)) properties[name] = of_one(second, name, schema, first);
  }
  return properties;
}

Json values_in_both(const Json& first, const Json& second) {
  Json values = Json::array();
  for (const Json& value : first) {
    if (std::find(second.begin(), second.end(), value) != second.end()) values.push_back(value);
  }
  return values;
}

Json one_keyword(const std::string& name, const Json& first, const Json& second, const Lost& lost) {
  if (first == second) return first;
  if (is_least(name) && first.is_number() && second.is_number()) return first < second ? second : first;
  if (is_most(name) && first.is_number() && second.is_number()) return first < second ? first : second;
  if (name == "required" && first.is_array() && second.is_array()) {
    Json names = first;
    for (const Json& one : second) {
      if (std::find(first.begin(), first.end(), one) == first.end()) names.push_back(one);
    }
    return names;
  }
  if (name == "enum" && first.is_array() && second.is_array()) return values_in_both(first, second);
  if (name == "uniqueItems") return true;
  const bool schema = name == "items" || name == "additionalProperties" || name == "propertyNames";
  if (schema && !first.is_array() && !second.is_array()) return both(first, second);
  lost(name);
  return first;
}

// The constants that a schema is limited to; null: it is not.
Json values_of(const Json& schema) {
  if (const Json* value = find(schema, "const")) return Json::array({*value});
  const Json* values = find(schema, "enum");
  return values != nullptr ? *values : Json();
}

// A schema whose constant is an enum of one, so that the two can be compared.
Json with_enum(Json schema) {
  if (const Json* value = find(schema, "const")) {
    Json values = Json::array({*value});
    if (const Json* others = find(schema, "enum"); others != nullptr && others->is_array()) {
      values = values_in_both(values, *others);
    }
    schema.erase("const");
    schema["enum"] = std::move(values);
  }
  return schema;
}

// Adds names that another, which is required itself, brings along. False: it is not known whether it does.
bool add_dependent(std::set<std::string>& names, const std::string& name, const Json& others) {
  const auto there = [&](const Json& other) { return other.is_string() && names.contains(other.get<std::string>()); };
  if (std::all_of(others.begin(), others.end(), there)) return true;
  if (!names.contains(name)) return false;
  for (const Json& other : others) {
    if (other.is_string()) names.insert(other.get<std::string>());
  }
  return true;
}

// Whether an object of `first` has a property that no object of `second` has in this form.
bool has_what_other_has_not(const Json& first, const Json& second, const Resolve& resolve, int depth) {
  const Json* properties = find(first, "properties");
  const Json* others = find(second, "properties");
  if (properties == nullptr || !properties->is_object()) return false;
  for (const auto& [name, schema] : properties->items()) {
    if (!requires_name(first, name)) continue;
    const Json* other = others != nullptr ? find(*others, name.c_str()) : nullptr;
    if (other == nullptr && of_other(second) == false) return true;
    if (other != nullptr && exclude_each_other(schema, *other, resolve, depth + 1)) return true;
  }
  return false;
}

}  // namespace

bool is_true(const Json* value) {
  return value != nullptr && *value == true;
}

const Json* find(const Json& schema, const char* name) {
  return find_field(schema, name);
}

std::string text_of(const Json& schema, const char* name) {
  const Json* value = find(schema, name);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

bool binds(const std::string& keyword) {
  static const std::set<std::string_view> names{"type",
                                                "nullable",
                                                "enum",
                                                "const",
                                                "properties",
                                                "required",
                                                "patternProperties",
                                                "propertyNames",
                                                "minProperties",
                                                "maxProperties",
                                                "items",
                                                "additionalItems",
                                                "prefixItems",
                                                "contains",
                                                "minContains",
                                                "maxContains",
                                                "minItems",
                                                "maxItems",
                                                "uniqueItems",
                                                "pattern",
                                                "format",
                                                "minLength",
                                                "maxLength",
                                                "minimum",
                                                "maximum",
                                                "multipleOf",
                                                "divisibleBy",
                                                "exclusiveMinimum",
                                                "exclusiveMaximum",
                                                "allOf",
                                                "anyOf",
                                                "oneOf",
                                                "not",
                                                "if",
                                                "then",
                                                "else",
                                                "dependencies",
                                                "dependentSchemas",
                                                "dependentRequired",
                                                "additionalProperties",
                                                "disallow",
                                                "extends",
                                                "unevaluatedItems",
                                                "contentEncoding",
                                                "unevaluatedProperties",
                                                "contentSchema",
                                                "$ref",
                                                "$dynamicRef",
                                                "$recursiveRef",
                                                "contentMediaType"};
  return names.contains(keyword) && !annotations().contains(keyword);
}

int said(const Json& schema) {
  int count = 0;
  if (!schema.is_object()) return count;
  for (const auto& item : schema.items()) count += binds(item.key()) ? 1 : 0;
  return count;
}

bool says_something(const Json& schema) {
  return schema.is_object() ? said(schema) > 0 : schema == false;
}

std::string unknown_type(const Json& schema) {
  const Json* type = find(schema, "type");
  if (type == nullptr || type->is_null()) return {};
  const Json list = type->is_array() ? *type : Json::array({*type});
  for (const Json& one : list) {
    const bool known = one.is_string() && std::find(std::begin(kTypeNames), std::end(kTypeNames),
                                                    one.get_ref<const std::string&>()) != std::end(kTypeNames);
    if (!known) return one.is_string() ? one.get<std::string>() : to_text(one);
  }
  return {};
}

std::set<std::string> types_of(const Json& schema) {
  std::set<std::string> types;
  const Json* type = find(schema, "type");
  if (type != nullptr && type->is_string()) types.insert(type->get<std::string>());
  if (type != nullptr && type->is_array()) {
    for (const Json& one : *type) {
      if (one.is_string()) types.insert(one.get<std::string>());
    }
  }
  const bool any = type == nullptr || type->is_null();
  if (any) types.insert(std::begin(kTypeNames), std::end(kTypeNames));
  if (const Json* nullable = find(schema, "nullable"); nullable != nullptr && *nullable == true) types.insert("null");
  if (types.contains("number")) types.erase("integer");
  return types;
}

std::set<std::string> types_meant(const Json& schema) {
  static const std::map<std::string, std::vector<const char*>> words{
      {"object",
       {"properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties",
        "maxProperties", "dependencies", "dependentRequired", "dependentSchemas", "unevaluatedProperties"}},
      {"array", {"items", "prefixItems", "additionalItems", "contains", "minItems", "maxItems", "uniqueItems"}},
      {"string", {"pattern", "minLength", "maxLength"}},
      {"number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}}};
  std::set<std::string> types;
  for (const auto& [type, names] : words) {
    for (const char* name : names) {
      if (find(schema, name) != nullptr) types.insert(type);
    }
  }
  if (types.empty() && is_string_format(text_of(schema, "format"))) types.insert("string");
  if (!types.empty() && is_true(find(schema, "nullable"))) types.insert("null");
  return types;
}

std::set<std::string> required_names(const Json& schema, const LostFor& lost) {
  std::set<std::string> names;
  const Json* list = find(schema, "required");
  if (list != nullptr && !list->is_array()) lost("required", "it is no list");
  if (list != nullptr && list->is_array()) {
    for (const Json& name : *list) {
      if (name.is_string()) names.insert(name.get<std::string>());
    }
  }
  for (const char* keyword : {"dependentRequired", "dependencies", "dependentSchemas"}) {
    const Json* dependencies = find(schema, keyword);
    if (dependencies == nullptr || !dependencies->is_object()) continue;
    for (const auto& [name, others] : dependencies->items()) {
      if (!others.is_array() || !add_dependent(names, name, others)) lost(keyword, "");
    }
  }
  return names;
}

Json merged(const Json& one, const Json& other, const std::function<void(const std::string&)>& lost) {
  const Json first = with_enum(one);
  const Json second = with_enum(other);
  Json result = first;
  const bool objects = find(first, "properties") != nullptr || find(second, "properties") != nullptr;
  for (const auto& [name, value] : second.items()) {
    if (name == "properties" || name == "type" || name == "nullable" || !binds(name)) continue;
    const Json* mine = find(first, name.c_str());
    result[name] = mine == nullptr ? value : one_keyword(name, *mine, value, lost);
  }
  if (objects) result["properties"] = properties_of(first, second, lost);
  if (find(first, "type") != nullptr || find(second, "type") != nullptr) {
    const std::set<std::string> mine = types_of(first);
    const std::set<std::string> theirs = types_of(second);
    std::set<std::string> types;
    for (const std::string& type : mine) {
      if (theirs.contains(type) || (type == "integer" && theirs.contains("number"))) types.insert(type);
    }
    if (mine.contains("number") && theirs.contains("integer")) types.insert("integer");
    result.erase("nullable");
    result["type"] = names_of(types);
  }
  return result;
}

bool exclude_each_other(const Json& one, const Json& other, const Resolve& resolve, int depth) {
  if (depth > kReferencesMax) return false;
  const auto followed = [&](const Json& schema) -> const Json* {
    const Json* at = &schema;
    for (int i = 0; at != nullptr && i < kReferencesMax && find(*at, "$ref") != nullptr; ++i) at = resolve(*at);
    return at;
  };
  const Json* first = followed(one);
  const Json* second = followed(other);
  if (first == nullptr || second == nullptr || !first->is_object() || !second->is_object()) return false;
  const Json values = values_of(*first);
  const Json others = values_of(*second);
  if (values.is_array() && others.is_array() && values_in_both(values, others).empty()) return true;
  std::set<std::string> shared;
  const std::set<std::string> types = types_of(*second);
  for (const std::string& type : types_of(*first)) {
    const bool numbers =
        (type == "integer" && types.contains("number")) || (type == "number" && types.contains("integer"));
    if (types.contains(type) || numbers) shared.insert(type);
  }
  if (shared.empty()) return true;
  const bool objects = shared.size() == 1 && shared.contains("object");
  return objects && (has_what_other_has_not(*first, *second, resolve, depth) ||
                     has_what_other_has_not(*second, *first, resolve, depth));
}

}  // namespace drover::schema
