#include "schema/schema_rewrite.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "schema/enum_rule.h"
#include "schema/plain_types.h"
#include "schema/references.h"
#include "schema/rule_book.h"
#include "schema/scalar_rewrite.h"
#include "schema/schema_merge.h"

namespace drover::schema {
namespace {

constexpr int kStepsMax = 256;
constexpr std::size_t kAlternativesMax = 64;  // of an anyOf beside a oneOf
constexpr std::size_t kComparedMax = 150;     // alternatives of a oneOf, each with each
constexpr std::int64_t kTupleMax = 64;        // items that a tuple is filled up with

using Rewritten = std::optional<Json>;  // nothing: no value is valid

std::int64_t count_of(const Json& schema, const char* name, std::int64_t otherwise) {
  const Json* value = find(schema, name);
  if (value == nullptr || !value->is_number()) return otherwise;
  return static_cast<std::int64_t>(std::clamp(value->get<double>(), -1e9, 1e9));
}

// One schema and what it refers to.
class Rewrite {
 public:
  Rewrite(const Json& root, RuleBook& book) : references_(root), root_(root), book_(book) {}

  Json run() {
    book_.path = "#";
    Json result = whole(root_);
    Json definitions = Json::object();
    while (!waiting_.empty()) {
      const auto [target, name, path] = waiting_.back();
      waiting_.pop_back();
      book_.path = path;
      definitions[name] = whole(*target);
    }
    for (auto& [name, definition] : scalars_.items()) definitions[name] = std::move(definition);
    if (!definitions.empty()) result["$defs"] = std::move(definitions);
    return result;
  }

 private:
  // A schema that something has to satisfy.
  Json whole(const Json& schema) {
    in_place_ = true;
    Rewritten result = visit(schema);
    if (!result) book_.refuse("no value is valid here");
    return std::move(*result);
  }

  Rewritten inside(const std::string& name, const Json& schema) {
    in_place_ = false;
    const PathStep step(book_, name);
    return visit(schema);
  }

  Rewritten visit(const Json& schema) {
    book_.charge(1);
    if (schema == true) return Json::object();
    if (schema == false) return std::nullopt;
    if (!schema.is_object()) book_.refuse("schema must be an object");
    if (++steps_ > kStepsMax) book_.refuse("references lead more than 256 schemas deep, or without an end");
    Rewritten result = visit_object_form(schema);
    --steps_;
    return result;
  }

  Rewritten visit_object_form(const Json& schema) {
    if (const Json* only = only_reference(schema)) {
      return in_place_ ? visit(target_of(*only)) : Rewritten(refer(*only));
    }
    // What stands alone in an allOf is what is meant; older tools write references like that.
    if (const Json* all = find(schema, "allOf"); all != nullptr && all->is_array() && all->size() == 1) {
      if (said(schema) == 1) return visit(all->front());
    }
    in_place_ = false;
    if (find(schema, "allOf") == nullptr && !References::is_one(schema)) return alternatives(schema);
    const auto flat = flattened(schema);
    if (!flat) return std::nullopt;
    return alternatives(*flat);
  }

  // What a schema says of values, without these members.
  Json without(const Json& schema, const std::set<std::string>& names) {
    Json rest = Json::object();
    for (const auto& [name, value] : schema.items()) {
      if (!binds(name) || names.contains(name)) continue;
      book_.charge_copy(value);
      rest[name] = value;
    }
    return rest;
  }

  const Json& target_of(const Json& schema) {
    const Json* target = references_.target(schema);
    if (target == nullptr) book_.refuse(fmt::format("cannot resolve $ref {}", References::text(schema)));
    return *target;
  }

  // `schema`, if it says nothing but that another holds.
  static const Json* only_reference(const Json& schema) {
    return References::is_one(schema) && said(schema) == 1 ? &schema : nullptr;
  }

  Json refer(const Json& schema) {
    const Json& target = target_of(schema);
    auto found = names_.find(&target);
    if (found == names_.end()) {
      const std::string text = References::text(schema);
      found = names_.emplace(&target, book_.new_name(text.substr(text.rfind('/') + 1))).first;
      waiting_.emplace_back(&target, found->second, text);
    }
    return {{"$ref", "#/$defs/" + found->second}};
  }

  // ---- allOf and references beside others: one schema that says all of it

  std::optional<Json> flattened(const Json& schema) {
    Json result = without(schema, {"allOf", "$ref", "$dynamicRef", "$recursiveRef"});
    if (References::is_one(schema)) {
      const Json& target = target_of(schema);
      if (!add(result, target)) return std::nullopt;
    }
    const Json* all = find(schema, "allOf");
    if (all == nullptr) return result;
    if (!all->is_array()) book_.refuse("allOf must be an array of schemas");
    for (const Json& part : *all) {
      if (!add(result, part)) return std::nullopt;
    }
    return result;
  }

  // False: nothing satisfies both.
  bool add(Json& into, const Json& part) {
    if (part == true) return true;
    if (part == false) return false;
    if (!part.is_object()) book_.refuse("schema must be an object");
    if (++steps_ > kStepsMax) book_.refuse("references lead more than 256 schemas deep, or without an end");
    auto flat = flattened(part);
    --steps_;
    if (!flat) return false;
    add_choices(into, *flat);
    into = merged(into, *flat, [&](const std::string& name) { book_.lose(name, "beside another of it in allOf"); });
    return true;
  }

  // Two lists of alternatives that both hold: each of the one with each of the other.
  void add_choices(Json& into, Json& part) {
    for (const char* name : {"anyOf", "oneOf"}) {
      const Json* mine = find(into, name);
      const Json* theirs = find(part, name);
      if (mine == nullptr || theirs == nullptr || !mine->is_array() || !theirs->is_array() || *mine == *theirs)
        continue;
      if (mine->size() * theirs->size() > kAlternativesMax) continue;
      into[name] = product(*mine, *theirs);
      part.erase(name);
    }
  }

  Json product(const Json& first, const Json& second) {
    Json all = Json::array();
    for (const Json& one : first) {
      for (const Json& other : second) {
        all.push_back({{"allOf", Json::array({one, other})}});
        book_.charge_copy(all.back());
      }
    }
    return all;
  }

  // ---- anyOf and oneOf

  Rewritten alternatives(const Json& flat) {
    const Json* any = find(flat, "anyOf");
    const Json* one = find(flat, "oneOf");
    if (any == nullptr && one == nullptr) return kinds(flat);
    const Json rest = without(flat, {"anyOf", "oneOf"});
    for (const auto& [name, list] : {std::pair{"anyOf", any}, std::pair{"oneOf", one}}) {
      if (list != nullptr && (!list->is_array() || list->empty())) {
        book_.refuse(fmt::format("{} must be a list of schemas that is not empty", name));
      }
    }
    if (one != nullptr) check_one_of(*one);
    const char* name = any != nullptr ? "anyOf" : "oneOf";
    Json combined;
    if (any != nullptr && one != nullptr) {
      if (any->size() * one->size() > kAlternativesMax) {
        book_.lose("oneOf", "beside anyOf");
      } else {
        combined = product(*any, *one);
      }
    }
    return each_with(rest, combined.is_array() ? combined : any != nullptr ? *any : *one, name);
  }

  Rewritten each_with(const Json& rest, const Json& list, const char* name) {
    const bool more = says_something(rest);
    Json choices = Json::array();
    std::size_t index = 0;
    for (const Json& part : list) {
      Json both;
      if (more) {
        book_.charge_copy(rest);
        both = {{"allOf", Json::array({rest, part})}};
      }
      Rewritten choice = inside(fmt::format("{}/{}", name, index++), more ? both : part);
      if (choice && std::find(choices.begin(), choices.end(), *choice) == choices.end()) {
        choices.push_back(std::move(*choice));
      }
    }
    return any_of(std::move(choices));
  }

  Rewritten any_of(Json choices) {
    if (choices.size() > kPlainEnumMax) choices = with_values_together(choices);
    if (choices.empty()) return std::nullopt;
    if (choices.size() == 1) return choices.front();
    return Json{{"anyOf", std::move(choices)}};
  }

  // A long list of alternatives that are a constant each is a list of constants.
  Json with_values_together(const Json& choices) {
    Json values = Json::array();
    Json others = Json::array();
    for (const Json& choice : choices) {
      const Json* list = choice.size() == 1 ? find(choice, "enum") : nullptr;
      if (list == nullptr) {
        others.push_back(choice);
      } else {
        values.insert(values.end(), list->begin(), list->end());
      }
    }
    if (!values.empty()) others.push_back(one_of_values(std::move(values)));
    return others;
  }

  // The converter takes oneOf for anyOf, which is the same where no value satisfies two.
  void check_one_of(const Json& list) {
    if (are_different_constants(list)) return;
    if (list.size() > kComparedMax) return book_.lose("oneOf", "it is read as anyOf: it has too many alternatives");
    const auto resolve = [&](const Json& schema) { return references_.target(schema); };
    book_.charge(static_cast<int>(list.size() * list.size() / 2));
    for (std::size_t i = 0; i < list.size(); ++i) {
      for (std::size_t k = i + 1; k < list.size(); ++k) {
        if (exclude_each_other(list[i], list[k], resolve)) continue;
        book_.lose("oneOf", "it is read as anyOf: a value may satisfy several");
        return;
      }
    }
  }

  static bool are_different_constants(const Json& list) {
    std::unordered_set<std::string> texts;
    return std::all_of(list.begin(), list.end(), [&](const Json& part) {
      const Json* value = find(part, "const");
      return value != nullptr && !value->is_number() && texts.insert(value->dump()).second;
    });
  }

  // ---- types

  Rewritten kinds(const Json& flat) {
    if (const std::string type = unknown_type(flat); !type.empty()) {
      book_.refuse(fmt::format("unrecognized type {}", type));
    }
    for (const char* name :
         {"not", "if", "then", "else", "disallow", "extends", "contentEncoding", "contentMediaType", "contentSchema"}) {
      const bool alone = name == std::string_view("then") || name == std::string_view("else");
      if (find(flat, name) != nullptr && !(alone && find(flat, "if") == nullptr)) book_.lose(name);
    }
    if (find(flat, "const") != nullptr || find(flat, "enum") != nullptr) return constants(flat);
    const bool typed = find(flat, "type") != nullptr && !find(flat, "type")->is_null();
    const std::set<std::string> types = typed ? types_of(flat) : types_meant(flat);
    if (types.empty() && !typed) {
      if (find(flat, "format") != nullptr) book_.lose("format", "without a type");
      return Json::object();
    }
    Json choices = Json::array();
    for (const std::string& type : types) {
      Rewritten choice = of_type(flat, type);
      if (choice) choices.push_back(std::move(*choice));
    }
    return any_of(std::move(choices));
  }

  Rewritten of_type(const Json& flat, const std::string& type) {
    if (type == "object") return object(flat);
    if (type == "array") return array(flat);
    if (type == "string") return named(rewrite_string(flat, book_));
    if (type == "integer" || type == "number") return named(rewrite_number(flat, type == "integer", book_));
    return Json{{"type", type}};
  }

  // A scalar with a rule of its own is a reference whose rule complete() replaces.
  Rewritten named(Scalar scalar) {
    if (!scalar.possible) return std::nullopt;
    if (scalar.rule.empty()) return std::move(scalar.schema);
    scalars_[scalar.rule] = {{"anyOf", Json::array({std::move(scalar.schema)})}};
    return Json{{"$ref", "#/$defs/" + scalar.rule}};
  }

  Rewritten constants(const Json& flat) {
    const Json* constant = find(flat, "const");
    const Json* list = find(flat, "enum");
    if (list != nullptr && (!list->is_array() || list->empty()) && constant == nullptr) {
      book_.refuse("enum must be a non-empty array");
    }
    Json values = Json::array();
    for (const Json& value : constant != nullptr ? Json::array({*constant}) : *list) {
      if (constant != nullptr && list != nullptr && list->is_array() &&
          std::find(list->begin(), list->end(), value) == list->end()) {
        continue;
      }
      if (may_be(value, flat, book_)) values.push_back(value);
    }
    if (values.empty()) return std::nullopt;
    return one_of_values(std::move(values));
  }

  Json one_of_values(Json values) {
    if (values.size() <= kPlainEnumMax) return Json{{"enum", std::move(values)}};
    std::string name =
        book_.rule("enum " + values.dump(), [&](const std::string& rule) { return enum_rule(values, rule); });
    if (name.empty()) {
      book_.refuse(fmt::format("enum has more than {} values that differ in one place", kEnumBranchesMax));
    }
    return *named({true, std::move(name), Json{{"type", "string"}}});
  }

  // ---- arrays

  Rewritten array(const Json& flat) {
    const Json* items = find(flat, "items");
    const Json* prefix = find(flat, "prefixItems");
    const Json* rest = items;
    if (prefix == nullptr && items != nullptr && items->is_array()) {
      prefix = items;
      rest = find(flat, "additionalItems");
    }
    const std::int64_t min = std::max<std::int64_t>(count_of(flat, "minItems", 0), 0);
    std::int64_t max = count_of(flat, "maxItems", -1);
    if (find(flat, "contains") != nullptr && find(flat, "minContains") == nullptr) book_.lose("contains");
    if (count_of(flat, "minContains", 0) > 0) book_.lose("minContains");
    if (find(flat, "maxContains") != nullptr) book_.lose("maxContains");
    if (is_true(find(flat, "uniqueItems")) && (max < 0 || max > 1)) book_.lose("uniqueItems");
    if (prefix != nullptr && prefix->is_array() && (!prefix->empty() || find(flat, "prefixItems") == nullptr)) {
      return tuple(prefix == items ? "items" : "prefixItems", *prefix, rest, min, max);
    }
    const Json* other = find(flat, "unevaluatedItems");
    Json result{{"type", "array"}};
    Rewritten item = Json::object();
    if (rest != nullptr) {
      item = inside("items", *rest);
    } else if (other != nullptr) {
      item = inside("unevaluatedItems", *other);
    }
    if (!item) {
      if (min > 0) return std::nullopt;
      max = 0;
      item = Json::object();
    }
    if (max > kItemsMax) {
      book_.lose("maxItems", fmt::format("more than {}", kItemsMax));
      max = -1;
    }
    if (max >= 0 && min > max) return std::nullopt;
    result["items"] = std::move(*item);
    if (min > 0) result["minItems"] = min;
    if (max >= 0) result["maxItems"] = max;
    return result;
  }

  // As many items as it has to have: the engine's tuples have one length.
  Rewritten tuple(const char* name, const Json& prefix, const Json* rest, std::int64_t min, std::int64_t max) {
    Json items = Json::array();
    for (std::size_t i = 0; i < prefix.size(); ++i) {
      const auto count = static_cast<std::int64_t>(i);
      if (max >= 0 && count >= max) break;
      Rewritten item = inside(fmt::format("{}/{}", name, i), prefix[i]);
      if (!item) {
        if (count < min) return std::nullopt;
        break;
      }
      items.push_back(std::move(*item));
    }
    const auto missing = min - static_cast<std::int64_t>(items.size());
    if (missing > kTupleMax) {
      book_.lose("minItems", "it is far more than the items that are listed");
    } else if (missing > 0) {
      Rewritten item = rest == nullptr ? Rewritten(Json::object()) : inside("items", *rest);
      if (!item) return std::nullopt;
      for (std::int64_t i = 0; i < missing; ++i) {
        book_.charge_copy(*item);
        items.push_back(*item);
      }
    }
    return Json{{"type", "array"}, {"prefixItems", std::move(items)}};
  }

  // ---- objects

  Rewritten object(const Json& flat) {
    Json properties = Json::object();
    std::set<std::string> required =
        required_names(flat, [&](const std::string& keyword, const char* why) { book_.lose(keyword, why); });
    const Json* given = find(flat, "properties");
    if (given != nullptr && !given->is_object()) book_.refuse("properties must be an object");
    const Json none = Json::object();
    for (const auto& [name, schema] : (given != nullptr ? *given : none).items()) {
      Rewritten property = inside("properties/" + name, schema);
      if (property) {
        properties[name] = std::move(*property);
      } else if (required.contains(name)) {
        return std::nullopt;
      }
    }
    Json additional = additional_of(flat, given != nullptr);
    if (!add_names(flat, properties, additional)) return std::nullopt;
    for (const std::string& name : required) {
      if (properties.contains(name)) continue;
      if (given != nullptr && given->contains(name)) return std::nullopt;
      const bool open = find(flat, "additionalProperties") == nullptr && find(flat, "patternProperties") == nullptr;
      if (additional == false && !open) {
        book_.lose("required", fmt::format("{} is no property that there may be", Json(name).dump()));
        continue;
      }
      properties[name] = additional.is_object() ? additional : Json::object();
    }
    if (!check_counts(flat, properties.size(), required.size(), additional == false)) return std::nullopt;
    Json result{{"type", "object"}};
    if (!properties.empty() || additional == false) result["properties"] = std::move(properties);
    Json names = Json::array();
    for (const std::string& name : required) names.push_back(name);
    if (!names.empty()) result["required"] = std::move(names);
    result["additionalProperties"] = std::move(additional);
    return result;
  }

  // What properties that have no schema of their own may hold: false, or a schema. An object that lists its properties
  // has no others unless it says so.
  Json additional_of(const Json& flat, bool closed) {
    const Json* patterns = find(flat, "patternProperties");
    const Json* additional = find(flat, "additionalProperties");
    if (additional != nullptr && !additional->is_boolean() && !additional->is_object()) {
      book_.refuse("additionalProperties must be a boolean or a schema");
    }
    if (additional == nullptr) additional = find(flat, "unevaluatedProperties");
    if (patterns != nullptr && patterns->is_object() && !patterns->empty()) {
      return of_patterns(*patterns, additional, closed);
    }
    if (additional == nullptr) return closed ? Json(false) : Json(true);
    Rewritten result = inside("additionalProperties", *additional);
    return result ? *result == Json::object() ? Json(true) : std::move(*result) : Json(false);
  }

  Json of_patterns(const Json& patterns, const Json* additional, bool closed) {
    const auto every = [](const std::string& pattern) {
      return pattern.empty() || pattern == ".*" || pattern == "^.*$" || pattern == "^.*" || pattern == ".*$" ||
             pattern == "^";
    };
    const bool one_for_all = patterns.size() == 1 && every(patterns.begin().key());
    if (closed && one_for_all == false && (additional == nullptr || *additional == false)) return false;
    if (!one_for_all || closed) book_.lose("patternProperties", "names may be any");
    Json choices = Json::array();
    for (const auto& [pattern, schema] : patterns.items()) {
      if (Rewritten choice = inside("patternProperties/" + pattern, schema)) choices.push_back(std::move(*choice));
    }
    if (additional != nullptr && additional->is_object() && !one_for_all) {
      if (Rewritten choice = inside("additionalProperties", *additional)) choices.push_back(std::move(*choice));
    }
    Rewritten result = any_of(std::move(choices));
    return result ? *result == Json::object() ? Json(true) : std::move(*result) : Json(false);
  }

  // propertyNames: a list of names makes properties of them. False: nothing is left.
  bool add_names(const Json& flat, Json& properties, Json& additional) {
    const Json* rule = find(flat, "propertyNames");
    if (rule == nullptr || !says_something(*rule)) return true;
    const Json* names = find(*rule, "enum");
    if (names == nullptr || !names->is_array()) {
      const bool plain = text_of(*rule, "type") == "string" && said(*rule) == 1;
      if (!plain) book_.lose("propertyNames");
      return true;
    }
    const Json before = std::exchange(properties, Json::object());
    for (const auto& [name, schema] : before.items()) {
      if (std::find(names->begin(), names->end(), Json(name)) != names->end()) properties[name] = schema;
    }
    for (const Json& name : *names) {
      if (!name.is_string() || additional == false || properties.contains(name.get<std::string>())) continue;
      const Json schema = additional == true ? Json::object() : additional;
      book_.charge_copy(schema);
      properties[name.get<std::string>()] = schema;
    }
    additional = false;
    return true;
  }

  // False: no object has so many properties.
  bool check_counts(const Json& flat, std::size_t properties, std::size_t required, bool closed) {
    const std::int64_t min = count_of(flat, "minProperties", 0);
    const std::int64_t max = count_of(flat, "maxProperties", -1);
    const bool bound = find(flat, "maxProperties") != nullptr;
    const auto most = static_cast<std::int64_t>(properties);
    const auto least = static_cast<std::int64_t>(required);
    if (bound && (max < min || max < least)) return false;
    if (closed && min > most) return false;
    if (min > least) book_.lose("minProperties");
    if (bound && (!closed || most > max)) book_.lose("maxProperties");
    return true;
  }

  References references_;
  const Json& root_;
  RuleBook& book_;
  bool in_place_ = false;  // this schema must not become a reference: it is what references lead to
  int steps_ = 0;
  std::unordered_map<const Json*, std::string> names_;                      // of what is referred to
  std::vector<std::tuple<const Json*, std::string, std::string>> waiting_;  // to be rewritten: with name and path
  Json scalars_ = Json::object();
};

}  // namespace

struct SchemaRewriter::Parts {
  RuleBook book;
};

SchemaRewriter::SchemaRewriter() : parts_(std::make_unique<Parts>()) {}
SchemaRewriter::~SchemaRewriter() = default;

Result<Json> SchemaRewriter::rewrite(const Json& schema, std::string_view where, bool strict) {
  RuleBook& book = parts_->book;
  book.where = std::string(where);
  book.strict = strict;
  try {
    return Rewrite(schema, book).run();
  } catch (const SchemaFault& fault) {
    return invalid(fault.message);
  }
}

Result<Json> SchemaRewriter::rewrite_tools(const Json& tools) {
  Json result = tools;
  std::size_t index = 0;
  for (Json& tool : result) {
    const std::string where = fmt::format("tools[{}].function.parameters", index++);
    const Json* function = find(tool, "function");
    const Json* parameters = function != nullptr ? find(*function, "parameters") : nullptr;
    if (parameters == nullptr || !parameters->is_object() || parameters->empty()) continue;
    const bool strict = is_true(find(*function, "strict"));
    auto rewritten = rewrite(*parameters, where, strict);
    if (!rewritten && strict) return invalid(where + ": " + rewritten.error().message);
    if (!rewritten) parts_->book.ignore(rewritten.error().message);
    Json kept = rewritten ? std::move(*rewritten) : Json{{"type", "object"}};
    keep_types(*parameters, kept);
    tool["function"]["parameters"] = std::move(kept);
  }
  return result;
}

const std::vector<std::string>& SchemaRewriter::warnings() const {
  return parts_->book.warnings;
}

bool SchemaRewriter::has_rules() const {
  return parts_->book.has_rules();
}

std::string SchemaRewriter::complete(const std::string& grammar) const {
  return parts_->book.complete(grammar);
}

}  // namespace drover::schema
