// JSON from files that anyone may have written.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "store/json_reader.h"

namespace drover {

// Manifests and the layers of a model that are JSON: small, flat files.
inline constexpr JsonBounds kFileJsonBounds{.depth_max = 64, .keys_max = 16'384, .values_max = 1 << 20};

// Parses JSON within kFileJsonBounds, so that copying and printing it cannot exhaust the stack. Error:
// kInvalidArgument, "<what> is not valid JSON", "<what> is nested too deeply" or the bound by name.
Result<Json> parse_untrusted_json(std::string_view text, std::string_view what);

}  // namespace drover
