#include "registry/challenge.h"

#include <algorithm>
#include <optional>

#include "base/text.h"

namespace drover::registry {
namespace {

void skip(std::string_view& text, std::string_view characters) {
  text.remove_prefix(std::min(text.find_first_not_of(characters), text.size()));
}

std::string_view take_until(std::string_view& text, std::string_view characters) {
  const std::string_view taken = text.substr(0, text.find_first_of(characters));
  text.remove_prefix(taken.size());
  return taken;
}

// A token, or a quoted string with its escapes undone. nullopt: the quotes do not end.
std::optional<std::string> take_value(std::string_view& text) {
  if (!text.starts_with('"')) return std::string(take_until(text, ", \t"));
  std::string value;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return value;
    }
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    value += text[i];
  }
  return std::nullopt;
}

}  // namespace

Result<Challenge> parse_challenge(std::string_view header) {
  const Error denied{ErrorCode::kForbidden, "unauthorized: access denied"};
  if (header.size() > kChallengeBytesMax) return denied;
  skip(header, " \t");
  const std::string_view scheme = take_until(header, " \t");
  Challenge challenge;
  if (equal_but_for_case(scheme, "basic")) {
    challenge.scheme = Challenge::Scheme::kBasic;
    return challenge;
  }
  if (!equal_but_for_case(scheme, "bearer")) return denied;
  while (true) {
    skip(header, " \t,");
    if (header.empty()) break;
    const std::string_view name = take_until(header, "=, \t");
    if (!header.starts_with('=')) break;  // another challenge begins
    header.remove_prefix(1);
    std::optional<std::string> value = take_value(header);
    if (!value) return denied;
    if (equal_but_for_case(name, "realm")) challenge.realm = std::move(*value);
    if (equal_but_for_case(name, "service")) challenge.service = std::move(*value);
    if (equal_but_for_case(name, "scope")) challenge.scope = std::move(*value);
  }
  if (challenge.realm.empty()) return denied;
  return challenge;
}

}  // namespace drover::registry
