#include "api/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <set>

#include "base/text.h"

namespace drover::api {
namespace {

const char* go_kind(const Json& value) {
  switch (value.type()) {
    case Json::value_t::string:
      return "string";
    case Json::value_t::boolean:
      return "bool";
    case Json::value_t::array:
      return "array";
    case Json::value_t::object:
      return "object";
    default:
      return "number";
  }
}

// The same as a type of Go's.
std::string_view plain_words(std::string_view go_type) {
  if (go_type == "string") return "a string";
  if (go_type == "bool") return "true or false";
  if (go_type == "int") return "an integer";
  if (go_type == "float64") return "a number";
  if (go_type == "[]string") return "a list of strings";
  return go_type == "array" ? "a list" : "an object";
}

// Members that hold more of a request's own structures, or lists of such. Others are maps, schemas or a client's data,
// whose keys mean what they are.
constexpr std::string_view kStructures[] = {
    "messages",       "content",         "tool_calls",  "tools",     "function", "tool_choice", "system",
    "stream_options", "response_format", "json_schema", "reasoning", "thinking", "source",      "output_config"};
// What a tool's parameters have by Ollama's type for them.
constexpr std::string_view kSchemaFields[] = {"type",        "properties", "required", "items",
                                              "description", "enum",       "anyOf"};

bool has_capitals(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

// Gives each key with capitals the name that `name_of` says, unless that is empty or there is such a key. Of several
// keys for one name the last one counts, as in Go.
template <typename NameOf>
void rename_keys(Json& object, const NameOf& name_of) {
  auto& members = object.get_ref<Json::object_t&>();
  const auto renames = [&](const auto& member) {
    const std::string name = has_capitals(member.first) ? name_of(member.first) : std::string();
    return !name.empty() && name != member.first;
  };
  if (std::none_of(members.begin(), members.end(), renames)) return;
  std::set<std::string> taken;
  for (const auto& member : members) taken.insert(member.first);
  std::vector<std::string> names(members.size());
  for (std::size_t i = members.size(); i-- > 0;) {
    const std::string& own = members.data()[i].first;
    std::string name = has_capitals(own) ? name_of(own) : std::string();
    names[i] = name.empty() || !taken.insert(name).second ? own : std::move(name);
  }
  Json::object_t renamed;
  renamed.reserve(members.size());
  auto name = names.begin();
  for (auto& member : members) renamed.emplace_back(std::move(*name++), std::move(member.second));
  object = Json(std::move(renamed));
}

void fold_parameters(Json& schema) {
  if (!schema.is_object()) return;
  rename_keys(schema, [](std::string_view key) {
    const std::string wanted = lower_case(key);
    for (const std::string_view field : kSchemaFields) {
      if (lower_case(field) == wanted) return std::string(field);
    }
    return std::string();
  });
  for (auto& [key, value] : schema.items()) {
    if (key == "items") fold_parameters(value);
    if (key != "properties" && key != "anyOf") continue;
    for (Json& inner : value) fold_parameters(inner);
  }
}

void fold_keys(Json& json) {
  if (json.is_array()) {
    for (Json& item : json) fold_keys(item);
  }
  if (!json.is_object()) return;
  rename_keys(json, [](const std::string& key) { return lower_case(key); });
  for (auto& [key, value] : json.items()) {
    const bool list = value.is_array();
    if (!list && !value.is_object()) continue;
    if (std::find(std::begin(kStructures), std::end(kStructures), key) != std::end(kStructures)) {
      fold_keys(value);
    } else if (list && key == "input") {
      fold_keys(value);
    } else if (key == "parameters" || key == "input_schema") {
      fold_parameters(value);
    }
  }
}

}  // namespace

Result<Json> parse_json(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return invalid("missing request body");
  Json json;
  if (auto fault = JsonReader(kBodyBounds).read(text, json)) return invalid(std::move(fault->message));
  if (!json.is_object()) return invalid(fmt::format("json: cannot unmarshal {} into a request object", go_kind(json)));
  fold_keys(json);
  return json;
}

std::string FieldPath::text() const {
  std::string all = parent != nullptr ? parent->text() : std::string();
  if (!all.empty()) all += '.';
  all += name;
  return index < 0 ? all : fmt::format("{}[{}]", all, index);
}

Fields::Fields(const Json& object, std::string type) : object_(object), type_(std::move(type)) {}

const Json* Fields::any(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void Fields::fail(std::string message) {
  if (!error_) error_ = invalid(std::move(message));
}

void Fields::wrong_type(const char* name, const Json& value, const char* expected) {
  if (path_ != nullptr) {
    const FieldPath field{path_, name};
    return fail(fmt::format("{} must be {}", field.text(), plain_words(expected)));
  }
  fail(fmt::format("json: cannot unmarshal {} into Go struct field {}.{} of type {}", go_kind(value), type_, name,
                   expected));
}

std::optional<std::string> Fields::optional_text(const char* name) {
  const Json* value = any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    wrong_type(name, *value, "string");
    return std::nullopt;
  }
  return value->get<std::string>();
}

std::string Fields::text(const char* name) {
  return optional_text(name).value_or("");
}

std::optional<bool> Fields::flag(const char* name) {
  const Json* value = any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) {
    wrong_type(name, *value, "bool");
    return std::nullopt;
  }
  return value->get<bool>();
}

std::optional<std::int64_t> Fields::integer(const char* name) {
  const Json* value = any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) {
    wrong_type(name, *value, "int");
    return std::nullopt;
  }
  return value->get<std::int64_t>();
}

std::optional<double> Fields::number(const char* name) {
  const Json* value = any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    wrong_type(name, *value, "float64");
    return std::nullopt;
  }
  return value->get<double>();
}

std::vector<std::string> Fields::texts(const char* name) {
  std::vector<std::string> result;
  const Json* values = array(name);
  if (values == nullptr) return result;
  for (const Json& value : *values) {
    if (!value.is_string()) {
      wrong_type(name, value, path_ != nullptr ? "[]string" : "string");
      return {};
    }
    result.push_back(value.get<std::string>());
  }
  return result;
}

std::vector<std::string> Fields::text_or_texts(const char* name) {
  const Json* value = any(name);
  if (value != nullptr && value->is_string()) return {value->get<std::string>()};
  return texts(name);
}

const Json* Fields::array(const char* name) {
  const Json* value = any(name);
  if (value != nullptr && !value->is_array()) {
    wrong_type(name, *value, "array");
    return nullptr;
  }
  return value;
}

const Json* Fields::object(const char* name) {
  const Json* value = any(name);
  if (value != nullptr && !value->is_object()) {
    wrong_type(name, *value, "object");
    return nullptr;
  }
  return value;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

std::string timestamp(std::int64_t nanoseconds_since_epoch) {
  const std::time_t seconds = static_cast<std::time_t>(nanoseconds_since_epoch / 1'000'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, nanoseconds_since_epoch % 1'000'000'000);
}

std::string timestamp_now() {
  return timestamp(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count());
}

}  // namespace drover::api
