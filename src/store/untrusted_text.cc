#include "store/untrusted_text.h"

#include <fmt/core.h>

#include <optional>

namespace drover {

Result<Json> parse_untrusted_json(std::string_view text, std::string_view what) {
  Json json;
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

}  // namespace drover
