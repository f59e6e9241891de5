#include "http/request_target.h"

#include <algorithm>
#include <optional>

#include "base/text.h"

namespace drover::http {
namespace {

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_value(text[i + 1]);
    const int low = hex_value(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

std::optional<std::string> form_decoded(std::string_view text) {
  std::string spaced(text);
  for (char& c : spaced) {
    if (c == '+') c = ' ';
  }
  return percent_decoded(spaced);
}

std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> pairs;
  while (!query.empty()) {
    const auto end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty()) continue;
    const auto equals = std::min(pair.find('='), pair.size());
    auto name = form_decoded(pair.substr(0, equals));
    auto value = form_decoded(pair.substr(std::min(equals + 1, pair.size())));
    if (name && value) pairs.emplace_back(std::move(*name), std::move(*value));
  }
  return pairs;
}

}  // namespace

std::string_view without_host(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    const auto end = target.find_first_of("/?", scheme.size());
    return end == std::string_view::npos ? std::string_view() : target.substr(end);
  }
  return target;
}

Result<RequestTarget> parse_request_target(std::string_view target) {
  const std::string_view local = without_host(target);
  const bool had_host = local.size() != target.size();
  const auto question = std::min(local.find('?'), local.size());
  auto path = percent_decoded(local.substr(0, question));
  if (!path) return invalid("malformed request target");
  if (path->empty() && had_host) path->push_back('/');
  if (!path->starts_with('/') && *path != "*") return invalid("malformed request target");
  return RequestTarget{std::move(*path), parse_query(local.substr(std::min(question + 1, local.size())))};
}

}  // namespace drover::http
