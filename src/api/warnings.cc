#include "api/warnings.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace drover::api {

void Warnings::add(std::string_view text) {
  std::string clean(text.substr(0, kTextBytesMax));
  std::replace_if(
      clean.begin(), clean.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  if (text.size() > kTextBytesMax) clean.replace(kTextBytesMax - 3, 3, "...");
  if (std::find(texts_.begin(), texts_.end(), clean) != texts_.end()) return;
  if (texts_.size() < kTextsMax) {
    texts_.push_back(std::move(clean));
  } else {
    ++more_;
  }
}

std::string Warnings::line() const {
  std::string line = fmt::format("{}", fmt::join(texts_, "; "));
  if (more_ > 0) line += fmt::format("; and {} more", more_);
  return line;
}

void tell_warnings(const Warnings& warnings, const RequestIdentity& identity, http::Exchange& exchange) {
  if (warnings.empty()) return;
  std::string line = warnings.line();
  spdlog::warn("request {}: {}", identity.id, line);
  exchange.add_header(kWarningHeader, std::move(line));
}

}  // namespace drover::api
