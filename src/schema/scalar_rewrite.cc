#include "schema/scalar_rewrite.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "base/utf8.h"
#include "schema/number_rule.h"
#include "schema/pattern.h"
#include "schema/schema_merge.h"

namespace drover::schema {
namespace {

// RFC 3339, within the years that programs take.
#define DROVER_YEAR "[12]\\d{3}"
#define DROVER_DATE                                                                                    \
  "(" DROVER_YEAR                                                                                      \
  "-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))" \
  "|([12]\\d(0[48]|[2468][048]|[13579][26])|(2[048]|1[26])00)-02-29)"
#define DROVER_TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define DROVER_LABEL "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
#define DROVER_BYTE "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define DROVER_GROUP "[0-9a-fA-F]{1,4}"
#define DROVER_URI_REST "([A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"

// The forms that are kept, as patterns; of what they stand for no more than the form is checked.
const std::map<std::string, const char*, std::less<>>& formats() {
  static const char* const kUuid = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$";
  static const std::map<std::string, const char*, std::less<>> all{
      {"date", "^" DROVER_DATE "$"},
      {"time", "^" DROVER_TIME "$"},
      {"date-time", "^" DROVER_DATE "T" DROVER_TIME "$"},
      {"duration",
       "^P(\\d{1,6}W|(\\d{1,6}D|\\d{1,6}M(\\d{1,6}D)?|\\d{1,6}Y(\\d{1,6}M(\\d{1,6}D)?)?)"
       "(T(\\d{1,6}S|\\d{1,6}M(\\d{1,6}S)?|\\d{1,6}H(\\d{1,6}M(\\d{1,6}S)?)?))?"
       "|T(\\d{1,6}S|\\d{1,6}M(\\d{1,6}S)?|\\d{1,6}H(\\d{1,6}M(\\d{1,6}S)?)?))$"},
      {"uuid", kUuid},
      {"uuid1", kUuid},
      {"uuid2", kUuid},
      {"uuid3", kUuid},
      {"uuid4", kUuid},
      {"uuid5", kUuid},
      {"email", "^[a-zA-Z0-9_+-]+(\\.[a-zA-Z0-9_+-]+)*@(" DROVER_LABEL "\\.)+[a-zA-Z]{2,20}$"},
      {"hostname", "^" DROVER_LABEL "(\\." DROVER_LABEL ")*$"},
      {"ipv4", "^(" DROVER_BYTE "\\.){3}" DROVER_BYTE "$"},
      {"ipv6", "^((" DROVER_GROUP ":){7}" DROVER_GROUP "|(" DROVER_GROUP ":){1,7}:|(" DROVER_GROUP
               ":){1,6}:" DROVER_GROUP "|(" DROVER_GROUP ":){1,5}(:" DROVER_GROUP "){2}|(" DROVER_GROUP
               ":){1,4}(:" DROVER_GROUP "){3}|(" DROVER_GROUP ":){1,3}(:" DROVER_GROUP "){4}|(" DROVER_GROUP
               ":){1,2}(:" DROVER_GROUP "){5}|" DROVER_GROUP ":(:" DROVER_GROUP "){6}|:(:" DROVER_GROUP "){1,7}|::)$"},
      {"uri", "^[a-zA-Z][a-zA-Z0-9+.-]*:(//" DROVER_LABEL "(\\." DROVER_LABEL ")*(:\\d{1,5})?([/?]" DROVER_URI_REST
              "*)?|[A-Za-z0-9]" DROVER_URI_REST "*)(#" DROVER_URI_REST "*)?$"}};
  return all;
}

std::int64_t count_of(const Json& flat, const char* name, std::int64_t otherwise, const RuleBook& book) {
  const Json* value = find(flat, name);
  if (value == nullptr) return otherwise;
  const bool whole =
      value->is_number() && value->get<double>() >= 0 && std::floor(value->get<double>()) == value->get<double>();
  if (!whole) book.refuse(fmt::format("{} must be a non-negative integer", name));
  return value->get<double>() > 1e9 ? 1'000'000'000 : static_cast<std::int64_t>(value->get<double>());
}

Scalar nothing() {
  return {false, {}, {}};
}

Scalar plain_string(const Lengths& lengths) {
  Json schema{{"type", "string"}};
  if (lengths.min > 0) schema["minLength"] = lengths.min;
  if (lengths.max) schema["maxLength"] = *lengths.max;
  return {true, {}, std::move(schema)};
}

Lengths lengths_of(const Json& flat, RuleBook& book) {
  Lengths lengths;
  const std::int64_t min = count_of(flat, "minLength", 0, book);
  const std::int64_t max = count_of(flat, "maxLength", -1, book);
  if (min > kRepetitionMax) book.refuse(fmt::format("minLength {} is greater than {}", min, kRepetitionMax));
  lengths.min = static_cast<int>(min);
  if (max > kRepetitionMax) book.lose("maxLength", fmt::format("more than {}", kRepetitionMax));
  if (max >= 0 && max <= kRepetitionMax) lengths.max = static_cast<int>(max);
  return lengths;
}

// The pattern as a rule; nothing where it cannot be kept, which has then been said.
std::optional<Scalar> of_pattern(const std::string& pattern, const Lengths& lengths, const char* keyword,
                                 RuleBook& book) {
  const PatternRules rules = pattern_rules(pattern, lengths, "probe");
  const std::string shown =
      fmt::format("{} \"{}\"", keyword, pattern.size() > 60 ? pattern.substr(0, 60) + "..." : pattern);
  switch (rules.fault) {
    case PatternRules::Fault::kInvalid:
      book.refuse(fmt::format("invalid {}: {}", shown, rules.problem));
    case PatternRules::Fault::kUnsupported:
      book.lose(shown, rules.problem);
      return std::nullopt;
    case PatternRules::Fault::kNothing:
      return nothing();
    case PatternRules::Fault::kNone:
      break;
  }
  if (!rules.lengths_kept) book.lose("minLength or maxLength", "beside this pattern");
  const std::string key = fmt::format("string {} {} {}", lengths.min, lengths.max.value_or(-1), pattern);
  std::string name = book.rule(key, [&](const std::string& rule) {
    book.charge_repetitions(rules.repetitions);
    return pattern_rules(pattern, lengths, rule).text;
  });
  return Scalar{true, std::move(name), {{"type", "string"}}};
}

struct IntegerFormat {
  const char* min;
  const char* max;
};

const std::map<std::string, IntegerFormat, std::less<>>& integer_formats() {
  static const std::map<std::string, IntegerFormat, std::less<>> all{{"int8", {"-128", "127"}},
                                                                     {"int16", {"-32768", "32767"}},
                                                                     {"int32", {"-2147483648", "2147483647"}},
                                                                     {"uint8", {"0", "255"}},
                                                                     {"uint16", {"0", "65535"}},
                                                                     {"uint32", {"0", "4294967295"}},
                                                                     {"uint64", {"0", "9999999999999999"}},
                                                                     {"uint", {"0", "9999999999999999"}}};
  return all;
}

bool less(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative;
  const auto smaller = [](const Decimal& x, const Decimal& y) {
    if (x.whole.size() != y.whole.size()) return x.whole.size() < y.whole.size();
    return x.whole != y.whole ? x.whole < y.whole : x.fraction < y.fraction;
  };
  return a.negative ? smaller(b, a) : smaller(a, b);
}

class Bounds {
 public:
  Bounds(const Json& flat, bool integer, RuleBook& book) : flat_(flat), book_(book) { bounds.integer = integer; }

  // False: the schema says nothing about the size.
  bool read() {
    limit("minimum", "exclusiveMinimum", true);
    limit("maximum", "exclusiveMaximum", false);
    format();
    for (const char* name : {"multipleOf", "divisibleBy"}) {
      const Json* value = find(flat_, name);
      if (value == nullptr) continue;
      said_ = true;
      bounds.multiple_of = decimal_of(*value);
      if (!bounds.multiple_of) book_.lose(name);
    }
    return said_;
  }

  NumberBounds bounds;

 private:
  void limit(const char* plain, const char* exclusive, bool least) {
    const Json* value = find(flat_, plain);
    const Json* beyond = find(flat_, exclusive);
    const bool excluded = beyond != nullptr && *beyond == true;  // as older drafts have it
    if (value != nullptr) take(*value, plain, least, excluded);
    if (beyond != nullptr && !beyond->is_boolean()) take(*beyond, exclusive, least, true);
  }

  void take(const Json& value, const char* name, bool least, bool excluded) {
    if (!value.is_number()) book_.refuse(fmt::format("{} must be a number", name));
    said_ = true;
    const auto decimal = decimal_of(value);
    const double size = value.get<double>();
    if (decimal) return take(*decimal, least, excluded);
    if (std::abs(size) < 1 || (size > 0) == least) book_.lose(name, "no number is written with so many digits");
  }

  void take(const Decimal& decimal, bool least, bool excluded) {
    std::optional<Decimal>& bound = least ? bounds.min : bounds.max;
    bool& open = least ? bounds.min_excluded : bounds.max_excluded;
    const bool same = bound && !less(*bound, decimal) && !less(decimal, *bound);
    if (same) {
      open = open || excluded;
    } else if (!bound || (least ? less(*bound, decimal) : less(decimal, *bound))) {
      bound = decimal;
      open = excluded;
    }
  }

  void format() {
    const std::string name = text_of(flat_, "format");
    if (name.empty() || name == "float" || name == "double" || name == "decimal" || name == "int64" || name == "int")
      return;
    const auto found = integer_formats().find(name);
    if (found == integer_formats().end())
      return book_.lose("format", fmt::format("\"{}\" is not known", name.substr(0, 40)));
    said_ = true;
    bounds.integer = true;
    take(*decimal_of(Json::parse(found->second.min)), true, false);
    take(*decimal_of(Json::parse(found->second.max)), false, false);
  }

  const Json& flat_;
  RuleBook& book_;
  bool said_ = false;
};

std::string key_of(const NumberBounds& bounds) {
  const auto text = [](const std::optional<Decimal>& number) {
    return number ? fmt::format("{}{}.{}", number->negative ? "-" : "", number->whole, number->fraction) : "none";
  };
  return fmt::format("number {} {} {} {} {} {}", bounds.integer, text(bounds.min), bounds.min_excluded,
                     text(bounds.max), bounds.max_excluded, text(bounds.multiple_of));
}

bool is_of_type(const Json& value, const std::set<std::string>& types) {
  if (value.is_string()) return types.contains("string");
  if (value.is_boolean()) return types.contains("boolean");
  if (value.is_null()) return types.contains("null");
  if (value.is_array()) return types.contains("array");
  if (value.is_object()) return types.contains("object");
  if (types.contains("number")) return true;
  return types.contains("integer") && std::floor(value.get<double>()) == value.get<double>();
}

}  // namespace

Scalar rewrite_string(const Json& flat, RuleBook& book) {
  const Lengths lengths = lengths_of(flat, book);
  if (lengths.max && lengths.min > *lengths.max) return nothing();
  const Json* pattern = find(flat, "pattern");
  if (pattern != nullptr && !pattern->is_string()) book.refuse("pattern must be a string");
  const Json* named = find(flat, "format");
  if (named != nullptr && !named->is_string()) book.refuse("format must be a string");
  const std::string format = text_of(flat, "format");
  const auto known = formats().find(format);
  const bool shown_only = format.empty() || format == "password" || format == "text" || format == "string";
  if (known == formats().end() && !shown_only) {
    book.lose("format", fmt::format("\"{}\" is not known", format.substr(0, 40)));
  }
  if (pattern != nullptr) {
    if (auto scalar = of_pattern(pattern->get_ref<const std::string&>(), lengths, "pattern", book)) {
      if (known != formats().end()) book.lose("format", "beside pattern");
      return std::move(*scalar);
    }
  }
  if (known == formats().end()) return plain_string(lengths);
  auto scalar = of_pattern(known->second, lengths, "format", book);
  return scalar ? std::move(*scalar) : plain_string(lengths);
}

Scalar rewrite_number(const Json& flat, bool integer, RuleBook& book) {
  Scalar scalar;
  scalar.schema = {{"type", integer ? "integer" : "number"}};
  Bounds read(flat, integer, book);
  if (!read.read()) return scalar;
  const NumberRules probe = number_rules(read.bounds, "probe");
  if (probe.text.empty()) return nothing();
  if (read.bounds.multiple_of && !probe.multiple_of_kept) book.lose("multipleOf");
  scalar.rule =
      book.rule(key_of(read.bounds), [&](const std::string& name) { return number_rules(read.bounds, name).text; });
  return scalar;
}

bool is_string_format(const std::string& name) {
  return formats().contains(name);
}

bool may_be(const Json& value, const Json& flat, RuleBook& book) {
  if (!is_of_type(value, types_of(flat))) return false;
  if (value.is_number()) {
    const double number = value.get<double>();
    const auto bounds_by = [&](const char* name) {
      return find(flat, name) != nullptr && find(flat, name)->is_number();
    };
    if (bounds_by("minimum") && number < find(flat, "minimum")->get<double>()) return false;
    if (bounds_by("maximum") && number > find(flat, "maximum")->get<double>()) return false;
    if (bounds_by("exclusiveMinimum") && number <= find(flat, "exclusiveMinimum")->get<double>()) return false;
    if (bounds_by("exclusiveMaximum") && number >= find(flat, "exclusiveMaximum")->get<double>()) return false;
    if (find(flat, "multipleOf") != nullptr) book.lose("multipleOf", "beside enum");
  } else if (value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    const auto length = static_cast<std::int64_t>(character_count(text));
    if (length < count_of(flat, "minLength", 0, book)) return false;
    if (const std::int64_t max = count_of(flat, "maxLength", -1, book); max >= 0 && length > max) return false;
    if (find(flat, "pattern") != nullptr) book.lose("pattern", "beside enum");
  } else if (value.is_structured()) {
    for (const char* name : {"properties", "required", "items", "prefixItems", "minItems", "maxItems"}) {
      const bool about_objects = name[0] == 'p' || name[0] == 'r';
      if (value.is_object() == (about_objects && name != std::string_view("prefixItems")) &&
          find(flat, name) != nullptr) {
        book.lose(name, "beside enum");
      }
    }
  }
  return true;
}

}  // namespace drover::schema
