#include "store/untrusted_text.h"

#include <fmt/core.h>

#include <optional>

#include "base/quote.h"

namespace drover {
std::string to_valid_utf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = character_bytes(text);
    if (length == 0) {
      result += "\xEF\xBF\xBD";
      text.remove_prefix(1);
    } else {
      result += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return result;
}

Result<nlohmann::ordered_json> parse_untrusted_json(std::string_view text, std::string_view what) {
  nlohmann::ordered_json json;
  const std::optional<JsonFault> fault = JsonReader(kFileJsonBounds).read(text, json);
  if (!fault) return json;
  switch (fault->kind) {
    case JsonFault::Kind::kDepth:
      return invalid(fmt::format("{} is nested too deeply", what));
    case JsonFault::Kind::kKeys:
    case JsonFault::Kind::kValues:
      return invalid(fmt::format("{}: {}", what, fault->message));
    case JsonFault::Kind::kSyntax:
      break;
  }
  return invalid(fmt::format("{} is not valid JSON", what));
}

std::string to_text(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace drover
