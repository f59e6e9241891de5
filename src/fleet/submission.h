// A request as it is handed to the fleet.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "fleet/model_target.h"
#include "fleet/request_record.h"
#include "runner.pb.h"

namespace drover {

struct Submission {
  RequestIdentity identity;
  ModelTarget target;
  std::string client;
  Priority priority = Priority::kNormal;
  std::optional<Duration> timeout;
  std::optional<Duration> keep_alive;  // unset: the server's default
  bool load_only = false;
  bool streams = true;  // false: the answer is wanted whole, so that it can be begun again until it is complete
  // What the runner is sent, the request number filled in: `embed` if the target is for embedding, else `work`.
  pb::Generate work;
  pb::Embed embed;
};

}  // namespace drover
