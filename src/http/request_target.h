// The target of a request line, taken apart.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace drover::http {

struct RequestTarget {
  std::string path;                                        // percent-decoded; starts with '/', or is "*"
  std::vector<std::pair<std::string, std::string>> query;  // decoded, in order; malformed pairs are left out
};

// Takes "/path?query", "http://host/path?query" and "*". Error: kInvalidArgument.
Result<RequestTarget> parse_request_target(std::string_view target);

// What follows "http://host" in a target that names a host; the target itself if it does not.
std::string_view without_host(std::string_view target);

}  // namespace drover::http
