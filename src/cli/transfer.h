// `pull` and `push`: models to and from registries, with their progress.
#pragma once

#include <string>

#include "base/result.h"
#include "client/api_client.h"

namespace drover::cli {

struct TransferArguments {
  std::string model;
  bool insecure = false;
};

// The whole commands, with their progress on standard error.
Result<void> pull_model(ApiClient& client, const TransferArguments& arguments);
Result<void> push_model(ApiClient& client, const TransferArguments& arguments);

}  // namespace drover::cli
