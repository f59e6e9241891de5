// A recorded day again, under other settings: the same requests come, and the policy decides anew. Pure.
//
// Clients, their cancels, unloads and the memory of the machine are as recorded. What follows from decisions is not:
// loads, services and stops take what the service model says. Clients that were refused did not come again in the
// record, so they do not here.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "replay/day.h"
#include "replay/service_model.h"

namespace drover {

// Unset: as recorded.
struct Changes {
  std::optional<int> parallel = {};
  std::optional<std::size_t> queue_max = {};
  std::optional<int> loaded_models_max = {};
  std::optional<Duration> request_timeout = {};
  // By the client as logs show it; a key is one of each of its users too.
  std::map<std::string, double> weights = {};
};

Outcome play(const Recording& recording, const Day& day, const std::map<ModelId, ServiceModel>& models,
             const Changes& changes);

// What a replay says, or why it says nothing.
struct Answer {
  Outcome recorded;
  Outcome replayed;  // under the settings of the record
  Outcome changed;   // under the others
  std::map<ModelId, ServiceModel> models;
  std::map<ModelId, std::string> names;
  std::vector<std::string> notes;  // what limits the answer
  std::optional<std::string> why_not;
};

// The day is played under its own settings first: where its waits do not come out within kWaitErrorMax, what comes out
// under others is worth nothing.
inline constexpr double kWaitErrorMax = 0.05;
Answer answer(const Recording& recording, const Changes& changes);

}  // namespace drover
