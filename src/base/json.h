// The one type of JSON: members keep their order. Whoever includes this links nlohmann_json.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace drover {

using Json = nlohmann::ordered_json;

// `json` on one line. Bytes that are no UTF-8 (a model's metadata, a token that is half a character) become U+FFFD, so
// that this cannot fail.
inline std::string to_text(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

// The member of that name, or nullptr: `object` may be anything.
inline const Json* find_field(const Json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

}  // namespace drover
