// JSON as the API sends it, read without trust: a field that is missing or has the wrong type reads as empty.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace drover::cli {

inline std::string text_field(const Json& object, std::string_view name) {
  const Json* field = find_field(object, name);
  return field != nullptr && field->is_string() ? field->get<std::string>() : std::string();
}

// What /api/version says: Drover's own version where it is one, else Ollama's.
inline std::string server_version(const Json& answer) {
  const std::string own = text_field(answer, "drover");
  return own.empty() ? text_field(answer, "version") : own;
}

// 0 if it is missing, negative or no number. Fractions are cut off.
inline std::uint64_t count_field(const Json& object, std::string_view name) {
  const Json* field = find_field(object, name);
  if (field == nullptr) return 0;
  if (field->is_number_unsigned()) return field->get<std::uint64_t>();
  if (field->is_number_integer()) {
    const auto value = field->get<std::int64_t>();
    return value < 0 ? 0 : static_cast<std::uint64_t>(value);
  }
  const double value = field->is_number_float() ? field->get<double>() : 0;
  return value >= 0 && value < 1.8e19 ? static_cast<std::uint64_t>(value) : 0;
}

inline std::optional<std::uint64_t> optional_count(const Json& object, std::string_view name) {
  const Json* field = find_field(object, name);
  if (field == nullptr || !field->is_number()) return std::nullopt;
  return count_field(object, name);
}

// An empty array if it is missing or something else.
inline const Json& array_field(const Json& object, std::string_view name) {
  static const Json kNone = Json::array();
  const Json* field = find_field(object, name);
  return field != nullptr && field->is_array() ? *field : kNone;
}

inline const Json& object_field(const Json& object, std::string_view name) {
  static const Json kNone = Json::object();
  const Json* field = find_field(object, name);
  return field != nullptr && field->is_object() ? *field : kNone;
}

}  // namespace drover::cli
