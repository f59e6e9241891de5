// What a registry asks for with a 401: the WWW-Authenticate header.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace drover::registry {

inline constexpr std::size_t kChallengeBytesMax = 8u << 10;

struct Challenge {
  enum class Scheme { kBasic, kBearer } scheme = Scheme::kBearer;
  std::string realm;    // for kBearer the URL that hands out tokens
  std::string service;  // "" if it was not given
  std::string scope;    // likewise; several are separated by blanks
};

// Error: kForbidden, "unauthorized: access denied": a header that asks for something else, or for nothing.
Result<Challenge> parse_challenge(std::string_view header);

}  // namespace drover::registry
