// What is known of one request, from its arrival to its end: for the list of requests, the log and the metrics.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/ids.h"

namespace drover {

// Who a request is to those who sent it and to those who run the server. Printable ASCII throughout.
struct RequestIdentity {
  std::string id;      // as X-Request-Id tells it; empty: the driver makes one up
  std::string client;  // who sent it, with a hash in place of a key
  std::string route;   // "/api/chat"
  std::string trace;   // the trace id of a traceparent; empty: there was none
};

// How a request ended.
enum class Outcome {
  kStop,          // the model came to its end
  kLength,        // a limit on tokens or time was reached
  kLoaded,        // it asked for the model alone, and that is in memory
  kCanceled,      // somebody asked for its end
  kDisconnected,  // its client went away
  kQueueFull,
  kTimedOut,     // waited for longer than allowed
  kUnavailable,  // shutting down, or the model cannot be had at present
  kInvalid,      // its own fault
  kNoSpace,      // memory is short
  kFailed,       // everything else
};

inline constexpr std::array kOutcomeNames = {"stop",         "length",     "loaded",  "canceled",
                                             "disconnected", "queue_full", "timeout", "unavailable",
                                             "invalid",      "no_space",   "failed"};

struct RequestRecord {
  RequestIdentity identity;
  std::string model;  // the name that the request used
  Priority priority = Priority::kNormal;
  TimePoint arrived;
  TimePoint dispatched{};    // when it got its slot for the first time; zero: it never did
  TimePoint first_output{};  // zero: there was none
  TimePoint last_output{};
  Duration load{};  // the part of its wait in which its model was loading
  std::uint32_t prompt_tokens = 0;
  std::uint32_t cached_tokens = 0;  // of the prompt
  std::uint32_t output_tokens = 0;  // while it runs: pieces of output so far
  std::uint32_t tokens_noted = 0;   // of these: those that the metrics know of
  std::uint32_t preempted = 0;      // how often it was preempted
  Outcome outcome = Outcome::kFailed;
  std::string error;  // empty: none
  TimePoint ended{};
};

}  // namespace drover
