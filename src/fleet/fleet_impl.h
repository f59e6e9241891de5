// What the driver keeps of models, runners and requests. Included by driver*.cc only.
#pragma once

#include "fleet/fleet.h"
#include "policy/wait_estimate.h"

namespace drover {

// What applies where a setting says nothing.
inline int loaded_models_max(const Settings& settings) {
  constexpr int kOnCpu = 3;
  return settings.loaded_models_max > 0 ? settings.loaded_models_max : kOnCpu;
}

struct DispatchDriver::Model {
  ModelId id;
  ModelTarget target;  // of the request that came last
  ServiceHistory services;
  Duration last_load{};  // how long its last load took; zero: unknown
  bool failed = false;   // its last runner crashed or hung
};

struct DispatchDriver::Runner {
  RunnerId id;
  Model* model = nullptr;
  std::shared_ptr<RunnerProcess> process;
  bool stopping = false;     // nothing that it still says counts
  bool load_failed = false;  // it has said so, and ends
  std::uint64_t memory_bytes = 0;
  std::uint64_t device_bytes = 0;
  std::uint64_t progress = 0;
  std::string notice;  // see LoadedModelView
  std::string manifest_digest;
  std::string name;
  TimePoint started;
  TimePoint loaded{};  // zero: not yet
  KvView kv;
  std::uint32_t parked = 0;
  int sharers = 1;  // how many compute, as it was told
  ModelMetrics* metrics = nullptr;
};

struct DispatchDriver::Entry {
  Ticket* ticket = nullptr;        // null once the client is gone
  pb::ToRunner frame;              // holds the Generate, kept for a replay
  std::optional<pb::Chunk> whole;  // of an answer that is not streamed: what has come of it
  Model* model = nullptr;
  RunnerId runner;
  TimePoint placed;  // when it got the place that it has; record.dispatched is the first time
  RequestRecord record;
  ModelMetrics* metrics = nullptr;
  std::size_t whole_bytes = 0;               // of what has come of it
  Outcome leaving = Outcome::kDisconnected;  // why, once the ticket is gone
};

// Adds what `chunk` holds to the end of `to`.
void append(pb::Chunk& to, const pb::Chunk& chunk);

}  // namespace drover
