#include "store/untrusted_text.h"

#include <fmt/core.h>

#include <optional>

namespace drover {

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
