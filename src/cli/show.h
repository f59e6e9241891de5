// What `show` and /show print of a model, from /api/show's answer.
#pragma once

#include <string>
#include <string_view>

#include "cli/session.h"
#include "client/json.h"

namespace drover::cli {

enum class Detail { kNormal, kVerbose };

// The sections Model, Capabilities, Projector, Parameters, (Metadata, Tensors,) System, License.
std::string format_show(const Json& shown, Detail detail);

// What "/show <what>" prints, with what the session has changed.
std::string format_show_command(const std::string& what, const Json& shown, const Session& session);

}  // namespace drover::cli
