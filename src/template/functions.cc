#include "template/functions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <optional>
#include <string>

#include "template/format.h"

namespace drover::go_template {
namespace {

using Arguments = std::span<const Value>;

Error failure(std::string message) {
  return invalid(std::move(message));
}

Result<Value> made_text(BoundedText text) {
  if (text.cut()) return failure("the text is too long");
  return Value(std::move(text).take());
}

Result<Value> call_print(Arguments arguments, const CallContext& context) {
  BoundedText text(context.text_bytes_max);
  append_print(text, arguments);
  return made_text(std::move(text));
}

Result<Value> call_println(Arguments arguments, const CallContext& context) {
  BoundedText text(context.text_bytes_max);
  append_println(text, arguments);
  return made_text(std::move(text));
}

Result<Value> call_printf(Arguments arguments, const CallContext& context) {
  const auto* format = arguments[0].get_if<Text>();
  if (format == nullptr) {
    return failure(fmt::format("wrong type for value; expected string; got {}", arguments[0].type_name()));
  }
  BoundedText text(context.text_bytes_max);
  if (auto written = append_printf(text, format->view(), arguments.subspan(1)); !written) return written.error();
  return made_text(std::move(text));
}

Result<Value> call_json(Arguments arguments, const CallContext& context) {
  BoundedText text(context.text_bytes_max);
  append_json(text, arguments[0]);
  return made_text(std::move(text));
}

// The date of the machine's time zone, some days away from now.
Value date(std::chrono::system_clock::time_point now, int days) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm local{};
  localtime_r(&seconds, &local);
  local.tm_mday += days;
  local.tm_hour = 12;  // noon exists on every day, whatever daylight saving does
  local.tm_isdst = -1;
  std::mktime(&local);
  return Value(fmt::format("{:04}-{:02}-{:02}", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday));
}

Result<Value> call_current_date(Arguments, const CallContext& context) {
  return date(context.now, 0);
}
Result<Value> call_yesterday_date(Arguments, const CallContext& context) {
  return date(context.now, -1);
}

std::string_view type_script_name(std::string_view json_type) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kNames = {{
      {"string", "string"},
      {"number", "number"},
      {"integer", "number"},
      {"boolean", "boolean"},
      {"array", "any[]"},
      {"object", "Record<string, any>"},
      {"null", "null"},
  }};
  const auto* found =
      std::find_if(kNames.begin(), kNames.end(), [&](const auto& name) { return name.first == json_type; });
  return found == kNames.end() ? "any" : found->second;
}

// The type of a tool's property; whatever is no property is "any".
std::string type_script_type(const Value& value) {
  const auto* property = value.get_if<Record>();
  const Value* any_of = property != nullptr ? property->find("AnyOf") : nullptr;
  const Value* type = property != nullptr ? property->find("Type") : nullptr;
  if (any_of == nullptr || type == nullptr) return "any";
  const auto* choices = any_of->get_if<List>();
  const auto* types = type->get_if<List>();
  std::string text;
  const auto add = [&](std::string_view name) { text.append(text.empty() ? "" : " | ").append(name); };
  if (choices != nullptr && choices->size() > 0) {
    for (std::size_t i = 0; i < choices->size(); ++i) add(type_script_type((*choices)[i]));
    return text;
  }
  for (std::size_t i = 0; types != nullptr && i < types->size(); ++i) {
    const auto* name = (*types)[i].get_if<Text>();
    add(name != nullptr ? type_script_name(name->view()) : "any");
  }
  return text.empty() ? "any" : text;
}

Result<Value> call_type_script_type(Arguments arguments, const CallContext&) {
  return Value(type_script_type(arguments[0]));
}

Result<Value> call_not(Arguments arguments, const CallContext&) {
  return Value(!arguments[0].truth());
}

Result<Value> call_len(Arguments arguments, const CallContext&) {
  const Value& value = arguments[0];
  const auto size = [](std::size_t count) { return Value(static_cast<std::int64_t>(count)); };
  if (const auto* text = value.get_if<Text>()) return size(text->view().size());
  if (const auto* list = value.get_if<List>()) return size(list->size());
  if (const auto* map = value.get_if<Map>()) return size(map->size());
  if (value.is_nil()) return failure("len of nil pointer");
  return failure(fmt::format("len of type {}", value.type_name()));
}

// A place in something with `size` places, the end being one for slices.
Result<std::size_t> place_of(const Value& index, std::size_t size) {
  const auto* number = index.get_if<std::int64_t>();
  if (number == nullptr) {
    if (index.is_nil()) return failure("cannot index slice/array with nil");
    return failure(fmt::format("cannot index slice/array with type {}", index.type_name()));
  }
  if (*number < 0 || static_cast<std::uint64_t>(*number) >= size) {
    return failure(fmt::format("index out of range: {}", *number));
  }
  return static_cast<std::size_t>(*number);
}

Result<Value> index_once(const Value& value, const Value& index) {
  if (const auto* list = value.get_if<List>()) {
    const auto place = place_of(index, list->size());
    if (!place) return place.error();
    return (*list)[*place];
  }
  if (const auto* text = value.get_if<Text>()) {
    const auto place = place_of(index, text->view().size());
    if (!place) return place.error();
    return Value(std::int64_t{static_cast<unsigned char>(text->view()[*place])});
  }
  if (const auto* map = value.get_if<Map>()) {
    const auto* key = index.get_if<Text>();
    if (key == nullptr) return failure(fmt::format("value has type {}; should be string", index.type_name()));
    const Value* found = map->find(key->view());
    return found != nullptr ? *found : Value();
  }
  if (value.is_nil()) return failure("index of nil pointer");
  return failure(fmt::format("can't index item of type {}", value.type_name()));
}

Result<Value> call_index(Arguments arguments, const CallContext&) {
  if (arguments[0].get_if<std::monostate>()) return failure("index of untyped nil");
  Value value = arguments[0];
  for (const Value& index : arguments.subspan(1)) {
    auto next = index_once(value, index);
    if (!next) return next;
    value = *std::move(next);
  }
  return value;
}

Result<Value> call_slice(Arguments arguments, const CallContext&) {
  const Value& value = arguments[0];
  const auto indexes = arguments.subspan(1);
  const auto* text = value.get_if<Text>();
  const auto* list = value.get_if<List>();
  if (value.get_if<std::monostate>()) return failure("slice of untyped nil");
  if (indexes.size() > 3) return failure(fmt::format("too many slice indexes: {}", indexes.size()));
  if (text != nullptr && indexes.size() == 3) return failure("cannot 3-index slice a string");
  if (text == nullptr && list == nullptr) {
    return failure(fmt::format("can't slice item of type {}", value.type_name()));
  }
  const std::size_t size = text != nullptr ? text->view().size() : list->size();
  std::array<std::size_t, 3> places = {0, size, size};
  for (std::size_t i = 0; i < indexes.size(); ++i) {
    const auto place = place_of(indexes[i], size + 1);
    if (!place) return place.error();
    places[i] = *place;
  }
  for (std::size_t i = 0; i < 2; ++i) {
    if (places[i] > places[i + 1]) {
      return failure(fmt::format("invalid slice index: {} > {}", places[i], places[i + 1]));
    }
  }
  if (text != nullptr) return Value(text->slice(places[0], places[1]));
  List part = *list;
  part.end = list->begin + places[1];
  part.begin = list->begin + places[0];
  return Value(std::move(part));
}

constexpr const char* kIncompatible = "incompatible types for comparison";

// Whether two values are equal; an error if Go would not compare them.
Result<bool> equal(const Value& a, const Value& b) {
  if (a.is_nil() || b.is_nil()) return a.is_nil() && b.is_nil();
  if (a.data().index() != b.data().index()) return failure(kIncompatible);
  if (const auto* value = a.get_if<bool>()) return *value == *b.get_if<bool>();
  if (const auto* value = a.get_if<std::int64_t>()) return *value == *b.get_if<std::int64_t>();
  if (const auto* value = a.get_if<double>()) return *value == *b.get_if<double>();
  if (const auto* value = a.get_if<Text>()) return value->view() == b.get_if<Text>()->view();
  return failure(fmt::format("non-comparable type {}", a.type_name()));
}

Result<bool> less(const Value& a, const Value& b) {
  const auto is_basic = [](const Value& value) {
    return value.get_if<bool>() || value.get_if<std::int64_t>() || value.get_if<double>() || value.get_if<Text>();
  };
  if (!is_basic(a) || !is_basic(b)) return failure("invalid type for comparison");
  if (a.data().index() != b.data().index()) return failure(kIncompatible);
  if (const auto* value = a.get_if<std::int64_t>()) return *value < *b.get_if<std::int64_t>();
  if (const auto* value = a.get_if<double>()) return *value < *b.get_if<double>();
  if (const auto* value = a.get_if<Text>()) return value->view() < b.get_if<Text>()->view();
  return failure("invalid type for comparison");
}

// The first argument equals one of the others.
Result<Value> call_eq(Arguments arguments, const CallContext&) {
  if (arguments.size() == 1) return failure("missing argument for comparison");
  for (const Value& other : arguments.subspan(1)) {
    const auto same = equal(arguments[0], other);
    if (!same) return same.error();
    if (*same) return Value(true);
  }
  return Value(false);
}

Result<Value> call_ne(Arguments arguments, const CallContext&) {
  const auto same = equal(arguments[0], arguments[1]);
  if (!same) return same.error();
  return Value(!*same);
}

Result<Value> call_lt(Arguments arguments, const CallContext&) {
  const auto is_less = less(arguments[0], arguments[1]);
  if (!is_less) return is_less.error();
  return Value(*is_less);
}

Result<Value> call_le(Arguments arguments, const CallContext&) {
  const auto is_less = less(arguments[0], arguments[1]);
  if (!is_less) return is_less.error();
  if (*is_less) return Value(true);
  const auto same = equal(arguments[0], arguments[1]);
  if (!same) return same.error();
  return Value(*same);
}

// As in Go, what is not at most is more: this is how NaN comes out.
Result<Value> call_gt(Arguments arguments, const CallContext& context) {
  const auto at_most = call_le(arguments, context);
  if (!at_most) return at_most;
  return Value(!at_most->truth());
}

Result<Value> call_ge(Arguments arguments, const CallContext& context) {
  const auto is_less = call_lt(arguments, context);
  if (!is_less) return is_less;
  return Value(!is_less->truth());
}

constexpr std::size_t kAny = Function::kAnyNumber;

constexpr std::array<Function, 17> kFunctions = {{
    {"currentDate", 0, kAny, false, call_current_date},
    {"eq", 1, kAny, false, call_eq},
    {"ge", 2, 2, false, call_ge},
    {"gt", 2, 2, false, call_gt},
    {"index", 1, kAny, false, call_index},
    {"json", 1, 1, true, call_json},
    {"le", 2, 2, false, call_le},
    {"len", 1, 1, false, call_len},
    {"lt", 2, 2, false, call_lt},
    {"ne", 2, 2, false, call_ne},
    {"not", 1, 1, false, call_not},
    {"print", 0, kAny, true, call_print},
    {"printf", 1, kAny, true, call_printf},
    {"println", 0, kAny, true, call_println},
    {"slice", 1, kAny, false, call_slice},
    {"toTypeScriptType", 1, 1, false, call_type_script_type},
    {"yesterdayDate", 0, kAny, false, call_yesterday_date},
}};

}  // namespace

const Function* find_function(std::string_view name) {
  const auto* found = std::find_if(kFunctions.begin(), kFunctions.end(), [&](const auto& f) { return f.name == name; });
  return found == kFunctions.end() ? nullptr : &*found;
}

bool is_function(std::string_view name) {
  return name == "and" || name == "or" || find_function(name) != nullptr;
}

}  // namespace drover::go_template
