// What the fleet looks like: models in memory and requests that have not ended.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "fleet/request_record.h"
#include "policy/views.h"

namespace drover {

// Use of a runner's KV cache in cells, as last reported by the runner.
struct KvView {
  std::uint32_t cells = 0;   // size of the cache
  std::uint32_t used = 0;    // by running sequences
  std::uint32_t shared = 0;  // of those: by more than one
  std::uint32_t kept = 0;    // by none that runs, for requests to come
};

// A runner and its model, as /api/ps shows it.
struct LoadedModelView {
  ModelView state;
  std::string key;         // ModelTarget::key
  bool embedding = false;  // ModelTarget::embedding
  std::string name;
  std::string manifest_digest;
  std::uint64_t memory_bytes = 0;
  std::uint64_t device_bytes = 0;
  KvView kv;
  std::uint32_t preempted = 0;  // sequences that are preempted now
  std::string notice;           // what the runner wants known: why its slots are fewer than asked for
};

// A request that has not ended, as /api/queue shows it.
struct RequestStatus {
  enum class Phase { kQueued, kLoading, kPrefill, kGenerating, kCanceling };
  Phase phase = Phase::kQueued;
  std::size_t position = 0;  // 1 is next; 0: it does not wait
  Duration age{};
  std::optional<Duration> wait;   // what is left of it, as estimated; unset: it does not wait, or nothing is known
  const RequestRecord* record{};  // valid until the I/O thread does something else
};

}  // namespace drover
