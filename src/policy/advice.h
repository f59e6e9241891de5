// Which setting would let more requests run, while some wait and a part of the machine does nothing. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/clock.h"

namespace drover {

// A model that is in memory, or that requests wait for.
struct AdviceModel {
  std::string name;
  bool loaded = false;    // or on its way in or out; else it is not in memory
  bool generates = true;  // else it makes embeddings, whose slots no setting counts
  std::uint64_t running = 0;
  std::uint64_t waiting = 0;
  std::uint64_t slots = 0;       // that it gives to requests: none on its way in or out
  std::uint64_t more_bytes = 0;  // memory for one slot more, or for the model if it is not loaded
};

struct AdviceInput {
  std::span<const AdviceModel> models;
  double idle_share = 0;                    // of all processors, over the last seconds: 0 to 1
  std::uint64_t parallel = 1;               // OLLAMA_NUM_PARALLEL; 0: auto
  std::uint64_t runners = 0;                // in memory, those that load included
  std::uint64_t runners_max = 1;            // OLLAMA_MAX_LOADED_MODELS
  std::optional<std::uint64_t> room_bytes;  // memory that runners may still take; unset: no bound
};

struct Advice {
  std::string setting;
  std::string text;  // a sentence for those who run the server

  friend bool operator==(const Advice&, const Advice&) = default;
};

// Nothing while no request waits, while less is idle than what one of the running requests takes on average, or where
// no setting would help.
std::optional<Advice> advise(const AdviceInput& input);

// What to show of advice that comes every few seconds.
class Advisor {
 public:
  // Takes the advice of this moment. True: it is time for a line in the log, which is rare.
  bool update(std::optional<Advice> advice, TimePoint now);
  // What has held for two moments in succession.
  const std::optional<Advice>& shown() const { return shown_; }

 private:
  std::optional<Advice> last_;
  std::optional<Advice> shown_;
  std::optional<TimePoint> logged_;
};

}  // namespace drover
