// An http or https URL, taken apart once; and what may follow from it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drover::registry {

inline constexpr std::size_t kUrlBytesMax = 16u << 10;

// A plain value. Its host is lower case, IPv6 in brackets; its port is always filled in.
class Url {
 public:
  // Errors: kInvalidArgument: no URL, another scheme, a user or password in it, too long.
  static Result<Url> parse(std::string_view text);
  // What a Location header on the answer of this URL means. Errors: as parse; kForbidden: from https to http.
  Result<Url> resolve(std::string_view location) const;

  const std::string& text() const { return text_; }
  const std::string& scheme() const { return scheme_; }
  const std::string& host() const { return host_; }
  // As a Host header has it: without the scheme's own port.
  std::string authority() const;
  // "https://host:443": credentials for one origin are not for another.
  std::string origin() const;
  // For errors and logs: without the query, which may hold a signature.
  std::string shown() const;
  // With a query parameter added; its value is escaped.
  Result<Url> with_query(std::string_view name, std::string_view value) const;

 private:
  Url() = default;
  friend struct UrlReader;
  std::string text_;
  std::string scheme_;
  std::string host_;
  std::string port_;
};

}  // namespace drover::registry
