// What pulls and pushes share of the distribution protocol.
#pragma once

#include <string>

#include "base/result.h"
#include "registry/registry.h"
#include "registry/session.h"
#include "store/manifest.h"
#include "store/model_name.h"

namespace drover::registry {

// "https://host/v2/namespace/model"
std::string repository_url(const Session& session, const ModelName& name);

// What an answer that is no success says, as Ollama words it: "500: <the registry's words>", without what could move a
// cursor or break a line of a log. kNotFound for a 404.
Error error_of_answer(const Answer& answer);

// The state of a layer; `verb` is "pulling" or "pushing".
Progress layer_progress(const char* verb, const Layer& layer, std::uint64_t completed);

}  // namespace drover::registry
