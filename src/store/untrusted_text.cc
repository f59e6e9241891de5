#include "store/untrusted_text.h"

#include <fmt/core.h>

#include <cstdint>
#include <optional>

namespace drover {
namespace {

// The length of the well-formed sequence that `text` begins with; 0 if it begins with none. The ranges are those of
// the Unicode standard's table of well-formed sequences: no overlong forms, no surrogates, nothing above U+10FFFF.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const auto continues = [&](std::size_t i, std::uint8_t low = 0x80, std::uint8_t high = 0xBF) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const std::uint8_t low = first == 0xE0 ? 0xA0 : 0x80;
    const std::uint8_t high = first == 0xED ? 0x9F : 0xBF;
    return continues(1, low, high) && continues(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const std::uint8_t low = first == 0xF0 ? 0x90 : 0x80;
    const std::uint8_t high = first == 0xF4 ? 0x8F : 0xBF;
    return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string to_valid_utf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
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
