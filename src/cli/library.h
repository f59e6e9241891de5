// The commands about the models that a server has: list, ps, cp, rm and stop. Each prints what it did on standard
// output.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "client/api_client.h"

namespace drover::cli {

// `list` and `ps`: the server's models, and those in memory, whose names begin with `prefix`, whatever the case.
Result<void> list_models(ApiClient& client, const std::string& prefix);
Result<void> list_running(ApiClient& client, const std::string& prefix);

Result<void> copy_model(ApiClient& client, const std::string& source, const std::string& destination);

// Ends at the first model that cannot be removed.
Result<void> remove_models(ApiClient& client, const std::vector<std::string>& models);

// Unloads the model. Error: kNotFound if the server has no such model.
Result<void> stop_model(ApiClient& client, const std::string& model);

}  // namespace drover::cli
