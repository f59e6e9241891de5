#include "api/json.h"

#include <fmt/format.h>

#include <chrono>
#include <ctime>

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

}  // namespace

Result<Json> parse_json(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return invalid("missing request body");
  Json json;
  if (auto fault = JsonReader(kBodyBounds).read(text, json)) return invalid(std::move(fault->message));
  if (!json.is_object()) return invalid(fmt::format("json: cannot unmarshal {} into a request object", go_kind(json)));
  return json;
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
      wrong_type(name, value, "string");
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

std::string to_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
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
