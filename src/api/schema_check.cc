#include "api/schema_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "schema/enum_rule.h"

namespace drover::api {
namespace {

static_assert(kSchemaStepsMax == 256);
constexpr const char* kTooManySteps = "references lead more than 256 schemas deep, or without an end";
constexpr std::size_t kPathShownMax = 200;
// So many keys, bytes of a path or pattern, or values that are copied cost as much as one schema.
constexpr std::int64_t kKeysPerCost = 16;
constexpr std::int64_t kBytesPerCost = 64;
constexpr std::int64_t kWeightPerCost = 64;
constexpr std::int64_t kEnumChoicesMax = schema::kPlainEnumMax;
constexpr std::int64_t kReferenceBytesPerCost = 8;  // at each of its parts, keys are looked up one by one

const Json* find(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

// A path as a part of a message: no longer than a line, and none that ends it.
std::string shown(std::string_view path) {
  std::string text(path.substr(0, kPathShownMax));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  if (path.size() > kPathShownMax) text += "...";
  return text;
}

long double number_of(const Json& json) {
  return json.is_number_unsigned()  ? static_cast<long double>(json.get<std::uint64_t>())
         : json.is_number_integer() ? static_cast<long double>(json.get<std::int64_t>())
                                    : static_cast<long double>(json.get<double>());
}

// What it takes to copy `json`: values, and bytes of strings in units of a value.
std::int64_t weight_of(const Json& json) {
  if (json.is_string()) return 1 + static_cast<std::int64_t>(json.get_ref<const std::string&>().size() / sizeof(Json));
  std::int64_t weight = 1;
  if (json.is_structured()) {
    for (const Json& part : json) weight += weight_of(part);
  }
  return weight;
}

// Goes through a schema the way the engine's converter does, in the same order and as often (json-schema.cpp and
// json-schema-to-grammar.cpp in llama.cpp's common/), and builds nothing.
class SchemaWalk {
 public:
  SchemaWalk(const Json& root, SchemaBudget& budget) : root_(root), budget_(budget) {}

  Result<void> run() {
    if (visit(root_)) return {};
    return invalid(fmt::format("{}: {}", shown(path_), problem_));
  }

 private:
  // All of these return false with the first problem; path_ stays where it was found.
  bool fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  bool charge(std::int64_t cost) {
    budget_.cost -= cost;
    if (budget_.cost >= 0) return true;
    return fail(fmt::format("too large: more than {} schemas, names and values in all", kSchemaCostMax));
  }

  bool charge_repetitions(std::int64_t count) {
    budget_.repetitions -= count;
    if (budget_.repetitions >= 0) return true;
    return fail(fmt::format("too large: more than {} repetitions in all", kRepetitionsMax));
  }

  // `json` becomes a part of the grammar, character by character.
  bool charge_text(const Json& json) {
    budget_.text_bytes -= weight_of(json) * static_cast<std::int64_t>(sizeof(Json));
    if (budget_.text_bytes >= 0) return true;
    return fail(fmt::format("too large: more than {} bytes of values in all", kSchemaTextBytesMax));
  }

  // There are so many more choices at this place of the output.
  bool widen(std::int64_t choices) {
    choices_ += choices;
    if (choices_ <= kChoicesMax) return true;
    return fail(fmt::format("more than {} alternatives in one place", kChoicesMax));
  }

  // `child` is one level further down, under `name`, at another place of the output.
  bool descend_apart(std::string_view name, const Json& child) {
    const std::int64_t choices = std::exchange(choices_, 0);
    if (!descend(name, child)) return false;
    choices_ = choices;
    return true;
  }

  // The same for an alternative to what is at this place.
  bool descend(std::string_view name, const Json& child) {
    const std::size_t length = path_.size();
    path_.append("/").append(name);
    ++depth_;
    if (!visit(child)) return false;
    --depth_;
    path_.resize(length);
    return true;
  }

  bool visit(const Json& schema) {
    if (!schema.is_object()) return true;
    if (depth_ > kSchemaDepthMax) return fail(fmt::format("schemas are nested more than {} deep", kSchemaDepthMax));
    if (steps_ >= kSchemaStepsMax) return fail(kTooManySteps);
    const auto keys = static_cast<std::int64_t>(schema.size());
    if (!charge(1 + keys / kKeysPerCost + static_cast<std::int64_t>(path_.size()) / kBytesPerCost)) return false;
    if (!check_counts(schema) || !check_range(schema)) return false;
    ++steps_;
    const bool good = visit_parts(schema);
    --steps_;
    return good;
  }

  bool visit_parts(const Json& schema) {
    if (const Json* reference = find(schema, "$ref")) return visit_reference(*reference);
    for (const char* name : {"oneOf", "anyOf"}) {
      if (const Json* alternatives = find(schema, name)) return visit_list(name, *alternatives, &SchemaWalk::descend);
    }
    const Json* type = find(schema, "type");
    if (type == nullptr || type->is_null()) return visit_typed(schema, "");
    if (type->is_string()) return visit_typed(schema, type->get_ref<const std::string&>());
    if (!type->is_array()) return true;
    return visit_types(schema, *type);
  }

  // The converter makes a copy of the schema for each of its types.
  bool visit_types(const Json& schema, const Json& types) {
    std::set<std::string_view> seen;
    const std::int64_t copy_cost = weight_of(schema) / kWeightPerCost;
    if (!charge(copy_cost)) return false;  // has been paid for, whatever the types are
    for (const Json& type : types) {
      if (!type.is_string()) continue;
      const std::string& name = type.get_ref<const std::string&>();
      if (!seen.insert(name).second) return fail("a type is repeated");
      if (!charge(copy_cost) || !visit_typed(schema, name)) return false;
    }
    return true;
  }

  bool visit_typed(const Json& schema, const std::string& type) {
    if (const Json* value = find(schema, "const")) return charge_text(*value) && widen(1);
    if (const Json* values = find(schema, "enum")) return check_enum(*values);
    const Json* additional = find(schema, "additionalProperties");
    const bool has_properties = find(schema, "properties") != nullptr || (additional != nullptr && *additional != true);
    const Json* all = find(schema, "allOf");
    if (type.empty() && has_properties) return visit_object(schema);
    if (all != nullptr && (type.empty() || type == "string" || (type == "object" && !has_properties))) {
      return visit_all_of(*all);
    }
    if (type == "object") return visit_object(schema);
    if (type == "array") return visit_array(schema);
    if (type == "string") return check_pattern(schema);
    if (type == "integer") return check_integer(schema);
    if (!type.empty()) return widen(1);
    if (find(schema, "items") != nullptr || find(schema, "prefixItems") != nullptr) return visit_array(schema);
    return check_pattern(schema);
  }

  using Descend = bool (SchemaWalk::*)(std::string_view name, const Json& child);
  bool visit_list(std::string_view name, const Json& list, Descend how) {
    if (!list.is_array()) return true;
    std::size_t index = 0;
    for (const Json& part : list) {
      if (!(this->*how)(fmt::format("{}/{}", name, index++), part)) return false;
    }
    return true;
  }

  bool check_enum(const Json& values) {
    if (!values.is_array()) return true;
    const auto size = static_cast<std::int64_t>(values.size());
    if (size > kEnumEntriesMax) return fail(fmt::format("enum has more than {} entries", kEnumEntriesMax));
    // A long list is a tree in the grammar, which a few characters may come next in.
    return charge(size / kKeysPerCost) && charge_text(values) && widen(std::min(size, kEnumChoicesMax));
  }

  bool visit_object(const Json& schema) {
    if (!widen(1)) return false;
    if (const Json* properties = find(schema, "properties"); properties != nullptr && properties->is_object()) {
      if (!check_properties(schema, *properties)) return false;
      for (const auto& [name, property] : properties->items()) {
        if (!descend_apart("properties/" + name, property)) return false;
      }
    }
    const Json* additional = find(schema, "additionalProperties");
    return additional == nullptr || descend_apart("additionalProperties", *additional);
  }

  bool check_properties(const Json& schema, const Json& properties) {
    if (properties.size() > kPropertiesMax) return fail(fmt::format("more than {} properties", kPropertiesMax));
    std::set<std::string_view> required;
    if (const Json* names = find(schema, "required"); names != nullptr && names->is_array()) {
      if (!charge(static_cast<std::int64_t>(names->size()) / kKeysPerCost)) return false;
      for (const Json& name : *names) {
        if (name.is_string()) required.insert(name.get_ref<const std::string&>());
      }
    }
    std::size_t optional = 0;
    for (const auto& [name, property] : properties.items()) {
      if (name.size() > kSchemaNameBytesMax) {
        return fail(fmt::format("the name of a property is longer than {} bytes", kSchemaNameBytesMax));
      }
      if (!required.contains(name)) ++optional;
    }
    return check_optional(optional);
  }

  bool check_optional(std::size_t optional) {
    if (optional > kOptionalPropertiesMax) {
      return fail(fmt::format("more than {} properties that are not required", kOptionalPropertiesMax));
    }
    const auto count = static_cast<std::int64_t>(optional);
    budget_.optional_cubes -= count * count * count;
    if (budget_.optional_cubes < 0)
      return fail("too large: too many objects with many properties that are not required");
    return widen(count);
  }

  bool visit_array(const Json& schema) {
    if (!widen(1)) return false;
    for (const char* name : {"items", "prefixItems"}) {
      const Json* items = find(schema, name);
      if (items == nullptr) continue;
      return items->is_array() ? visit_list(name, *items, &SchemaWalk::descend_apart) : descend_apart(name, *items);
    }
    return true;
  }

  // ---- references

  // The converter visits what a reference leads to the first time, under the reference's own name.
  bool visit_reference(const Json& reference) {
    if (!reference.is_string()) return true;
    const std::string& name = reference.get_ref<const std::string&>();
    if (name.size() > kSchemaNameBytesMax) {
      return fail(fmt::format("a $ref is longer than {} bytes", kSchemaNameBytesMax));
    }
    if (!charge(static_cast<std::int64_t>(name.size()) / kReferenceBytesPerCost)) return false;
    const Json* target = resolve(name);
    if (target == nullptr) return true;
    const auto [visited, is_new] = visited_.emplace(name, 1);
    std::int64_t& gives = visited->second;
    if (!is_new) return widen(gives);
    std::string path = std::exchange(path_, name);
    const int depth = std::exchange(depth_, 0);
    const std::int64_t choices = choices_;
    if (!visit(*target)) return false;
    gives = choices_ - choices;
    path_ = std::move(path);
    depth_ = depth;
    return true;
  }

  // Null: nowhere, or not in this document.
  const Json* resolve(std::string_view reference) const {
    std::string_view rest = reference;
    if (!rest.starts_with("#/")) return nullptr;
    rest.remove_prefix(1);
    const Json* target = &root_;
    while (!rest.empty()) {
      rest.remove_prefix(1);
      const std::string part(rest.substr(0, rest.find('/')));
      rest.remove_prefix(part.size());
      if (target->is_object() && target->contains(part)) {
        target = &target->at(part);
      } else if (target->is_array()) {
        const std::size_t index = std::strtoull(part.c_str(), nullptr, 10);
        if (index >= target->size()) return nullptr;
        target = &target->at(index);
      } else {
        return nullptr;
      }
    }
    return target;
  }

  // The converter first reads the parts like any others. Then it takes the properties of those that are objects
  // together, and there it follows references as often as it meets them. Those of alternatives are not required.
  bool visit_all_of(const Json& parts) {
    if (!widen(1) || !visit_list("allOf", parts, &SchemaWalk::descend_apart)) return false;
    if (!parts.is_array()) return true;
    std::size_t optional = 0;
    for (const Json& part : parts) {
      if (!part.is_object()) continue;
      const Json* alternatives = find(part, "oneOf");
      if (alternatives == nullptr) alternatives = find(part, "anyOf");
      if (alternatives == nullptr || !alternatives->is_array()) {
        if (!visit_component(part)) return false;
        continue;
      }
      for (const Json& alternative : *alternatives) {
        if (!visit_component(alternative)) return false;
        optional += properties_of(alternative);
      }
    }
    return check_optional(optional);
  }

  std::size_t properties_of(const Json& component) const {
    const Json* object = &component;
    for (int step = 0; object != nullptr && object->is_object() && step < kSchemaStepsMax; ++step) {
      if (const Json* properties = find(*object, "properties")) return properties->is_object() ? properties->size() : 0;
      const Json* reference = find(*object, "$ref");
      if (reference == nullptr || !reference->is_string()) return 0;
      object = resolve(reference->get_ref<const std::string&>());
    }
    return 0;
  }

  bool visit_component(const Json& part) {
    const Json* reference = part.is_object() ? find(part, "$ref") : nullptr;
    if (reference == nullptr || !reference->is_string()) return true;  // it has been visited
    const std::string& name = reference->get_ref<const std::string&>();
    if (!charge(1 + static_cast<std::int64_t>(name.size()) / kReferenceBytesPerCost)) return false;
    const Json* target = resolve(name);
    if (target == nullptr || !target->is_object()) return true;
    if (steps_ >= kSchemaStepsMax) return fail(kTooManySteps);
    const int depth = std::exchange(depth_, 0);
    const std::int64_t choices = choices_;
    ++steps_;
    const bool good = find(*target, "$ref") != nullptr ? visit_component(*target) : visit_object(*target);
    --steps_;
    if (!good) return false;
    depth_ = depth;
    choices_ = choices;
    return true;
  }

  // ---- numbers

  bool check_counts(const Json& schema) {
    return check_count(schema, "minLength", "maxLength", kCountMax) &&
           check_count(schema, "minItems", "maxItems", kItemsMinMax) &&
           check_order(schema, "minProperties", "maxProperties");
  }

  bool check_count(const Json& schema, const char* least, const char* most, std::int64_t least_max) {
    const Json* min = find(schema, least);
    const Json* max = find(schema, most);
    for (const Json* count : {min, max}) {
      if (count == nullptr || !count->is_number_integer()) continue;
      const bool fits = !count->is_number_unsigned() || count->get<std::uint64_t>() <= std::numeric_limits<int>::max();
      if (fits && count->get<std::int64_t>() >= 0) continue;
      return fail(
          fmt::format("{} must be between 0 and {}", count == min ? least : most, std::numeric_limits<int>::max()));
    }
    const std::int64_t from = min != nullptr && min->is_number_integer() ? min->get<std::int64_t>() : 0;
    const bool bound = max != nullptr && max->is_number_integer();
    const std::int64_t to = bound ? max->get<std::int64_t>() : kCountMax + 1;
    if (!check_order(schema, least, most)) return false;
    if (from > least_max) return fail(fmt::format("{} {} is greater than {}", least, from, least_max));
    return charge_repetitions(to <= kCountMax ? to : from);
  }

  bool check_range(const Json& schema) {
    for (const char* least : {"minimum", "exclusiveMinimum"}) {
      for (const char* most : {"maximum", "exclusiveMaximum"}) {
        if (!check_order(schema, least, most)) return false;
      }
    }
    return true;
  }

  // Numbers alone are compared: a bound of another kind is the engine's to refuse.
  bool check_order(const Json& schema, const char* least, const char* most) {
    const Json* min = find(schema, least);
    const Json* max = find(schema, most);
    if (min == nullptr || max == nullptr || !min->is_number() || !max->is_number()) return true;
    if (number_of(*min) <= number_of(*max)) return true;
    return fail(fmt::format("{} {} is greater than {} {}", least, min->dump(), most, max->dump()));
  }

  bool check_integer(const Json& schema) {
    if (!widen(1)) return false;
    for (const char* name : {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}) {
      const Json* bound = find(schema, name);
      if (bound == nullptr || !bound->is_number()) continue;
      const long double number = number_of(*bound);
      if (number >= -0x1p63L && number < 0x1p63L) continue;
      return fail(fmt::format("{} {} is beyond the integers of 64 bits", name, bound->dump()));
    }
    return true;
  }

  // ---- patterns

  bool check_pattern(const Json& schema) {
    if (!widen(1)) return false;
    const Json* pattern = find(schema, "pattern");
    if (pattern == nullptr || !pattern->is_string()) return true;
    const std::string& text = pattern->get_ref<const std::string&>();
    if (text.size() > kPatternBytesMax) return fail(fmt::format("pattern is longer than {} bytes", kPatternBytesMax));
    if (!charge(1 + static_cast<std::int64_t>(text.size()) / kBytesPerCost)) return false;
    bool in_class = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\\') {
        ++i;
      } else if (in_class) {
        in_class = text[i] != ']';
      } else if (text[i] == '[') {
        in_class = true;
      } else if (text[i] == '|' || text[i] == '?' || text[i] == '*') {
        if (!widen(1)) return false;
      } else if (text[i] == '{') {
        const std::size_t end = text.find('}', i);
        if (end == std::string::npos) return true;
        if (!check_repetition(text.substr(i + 1, end - i - 1)) || !widen(1)) return false;
        i = end;
      }
    }
    return true;
  }

  // What stands between braces: "5", "5,", ",5" or "2,5". Read as loosely as the converter reads it.
  bool check_repetition(const std::string& text) {
    const std::size_t comma = text.find(',');
    const std::int64_t from = std::strtoll(text.c_str(), nullptr, 10);
    std::int64_t to = from;
    if (comma != std::string::npos) {
      const char* after = text.c_str() + comma + 1;
      char* end = nullptr;
      to = std::strtoll(after, &end, 10);
      if (end == after) to = kCountMax + 1;  // there is none
      if (end != after && from > to) {
        return fail(fmt::format("pattern has a repetition {{{}}} whose minimum exceeds its maximum", shown(text)));
      }
    }
    if (from > kCountMax) return fail(fmt::format("pattern repeats more than {} times", kCountMax));
    return charge_repetitions(std::max<std::int64_t>(to <= kCountMax ? to : from, 0));
  }

  const Json& root_;
  SchemaBudget& budget_;
  std::string path_ = "#";
  std::string problem_;
  int depth_ = 0;                                          // of this place in what is written
  int steps_ = 0;                                          // to this place from the root
  std::int64_t choices_ = 0;                               // at this place of the output, so far
  std::unordered_map<std::string, std::int64_t> visited_;  // references, with the choices that each gives
};

}  // namespace

Result<void> check_handed(const Json& json, SchemaBudget& budget) {
  if (budget.handed_values == 0) return invalid(fmt::format("more than {} values in all", kHandedValuesMax));
  --budget.handed_values;
  if (json.is_object()) {
    if (json.size() > kHandedKeysMax) return invalid(fmt::format("an object has more than {} keys", kHandedKeysMax));
    const std::size_t comparisons = json.size() * json.size();
    if (comparisons > budget.handed_comparisons) {
      return invalid(fmt::format("objects have more than {} pairs of keys in all", kHandedComparisonsMax));
    }
    budget.handed_comparisons -= comparisons;
  }
  if (!json.is_structured()) return {};
  for (const Json& part : json) {
    if (auto checked = check_handed(part, budget); !checked) return checked;
  }
  return {};
}

Result<void> check_schema(const Json& schema, SchemaBudget& budget) {
  if (auto handed = check_handed(schema, budget); !handed) return handed;
  return SchemaWalk(schema, budget).run();
}

Result<void> check_tools(const Json& tools, SchemaBudget& budget) {
  if (tools.size() > kToolsMax) return invalid(fmt::format("more than {} tools", kToolsMax));
  if (auto handed = check_handed(tools, budget); !handed) return handed;
  std::size_t index = 0;
  for (const Json& tool : tools) {
    const std::string place = fmt::format("tools[{}]", index++);
    if (!tool.is_object()) return invalid(place + " must be an object");
    const Json* function = find(tool, "function");
    if (function == nullptr || !function->is_object()) continue;
    const Json* name = find(*function, "name");
    if (name != nullptr && name->is_string() && name->get_ref<const std::string&>().size() > kSchemaNameBytesMax) {
      return invalid(fmt::format("{}: the name is longer than {} bytes", place, kSchemaNameBytesMax));
    }
    const Json* parameters = find(*function, "parameters");
    if (parameters == nullptr) continue;
    if (auto checked = SchemaWalk(*parameters, budget).run(); !checked) {
      return invalid(fmt::format("{}.function.parameters: {}", place, checked.error().message));
    }
  }
  return {};
}

}  // namespace drover::api
