// What a recorded day was: the policy is told its events again as they came, and decides as it did. So the record needs
// to hold no decisions, and what each request and each load took comes out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "replay/ledger.h"
#include "replay/recording.h"

namespace drover {

// So many requests, this one among them, ran on its runner for so long.
struct Stay {
  int running = 1;
  double seconds = 0;
};

// A request's time on a runner.
struct Service {
  ModelId model;
  std::vector<Stay> before_output;
  std::vector<Stay> output;  // from its first output on; empty where the answer came as a whole
  std::uint32_t prompt_tokens = 0;
  std::uint32_t output_tokens = 0;
  std::uint64_t rank = 0;              // which of all that ended it was
  bool finished = false;               // it came to its end; else it was canceled, its runner died or the record ended
  std::optional<Duration> cancel_lag;  // from the cancel to its end
};

inline constexpr int kEmbeddingSlots = 64;

struct ModelDay {
  std::string name;
  std::vector<std::pair<Duration, event::Loaded>> loads;  // in order
  std::vector<Duration> stops;                            // from being told to end to being gone

  // Whether the setting for parallel generations decides how many of its requests run at a time. It does not for a
  // runner of embeddings, which has as many slots as a batch has sequences.
  bool heeds_parallel() const { return loads.empty() || loads.front().second.slots < kEmbeddingSlots; }
};

struct Day {
  Outcome outcome;
  std::unordered_map<RequestId, Service> services;
  std::map<ModelId, ModelDay> models;
  std::unordered_map<RunnerId, ModelId> runners;
  Duration length{};
  std::uint64_t faults = 0;  // loads that failed and runners that died or hung
  std::uint64_t strays = 0;  // events that fit to nothing that the policy decided
};

Day watch(const Recording& recording);

}  // namespace drover
