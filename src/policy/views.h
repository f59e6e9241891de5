// What the dispatcher looks like, for /api/ps and the queue.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/ids.h"

namespace drover {

enum class ModelState { kUnloaded, kLoading, kLoaded, kDraining, kStopping, kBackoff };

struct ModelView {
  ModelId model;
  ModelState state = ModelState::kUnloaded;
  RunnerId runner;
  int slots = 0;
  int running = 0;
  std::size_t waiting = 0;
  int context_length = 0;
  std::uint64_t memory_bytes = 0;  // measured, or the estimate while it loads
  Duration keep_alive{};           // of the latest request that used it
  TimePoint expires = kNever;      // when an idle model leaves memory; kNever while it is in use
  float load_fraction = 0;
  std::string last_error;       // of a load or a crash, while kBackoff
  TimePoint retry_at = kNever;  // while kBackoff
};

enum class RequestPhase { kWaiting, kRunning, kCanceling };

struct RequestView {
  RequestId request;
  ModelId model;
  std::string client;
  Priority priority = Priority::kNormal;
  RequestPhase phase = RequestPhase::kWaiting;
  std::size_t position = 0;  // among the waiting ones of its model, 1 is next; 0 when it runs
  TimePoint arrived;
};

}  // namespace drover
