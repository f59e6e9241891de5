// What the policy is told and what it decides, as values: they can be written down and played again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace drover {

// What the dispatcher must know of a model before it can load it.
struct ModelNeeds {
  std::uint64_t memory_bytes = 0;  // estimate for that context; the measured figure replaces it once it is loaded
  int context_length = 0;          // tokens that this request wants to hold; 0: whatever is loaded or the default
  bool pinned = false;             // never evicted
};

struct Arrival {
  RequestId request;
  ModelId model;
  std::string client;        // who shares: API key, else X-Client-Id, else address
  double client_weight = 1;  // its share beside other clients; above 0 and the same in all its requests
  Priority priority = Priority::kNormal;
  ModelNeeds needs;
  std::optional<Duration> timeout;                // replaces request_timeout when it is shorter
  Duration keep_alive = std::chrono::minutes(5);  // negative: for ever; zero: unload when this request is done
  bool load_only = false;                         // wants the model in memory and no slot; ends with Complete
};

// What is known of whose fault a runner's end is.
struct Blame {
  RequestId request;          // what it worked on when it died or hung; none: nobody knows
  bool from_outside = false;  // it was killed or stopped by somebody else

  friend bool operator==(const Blame&, const Blame&) = default;
};

// ---- what happens

namespace event {

// ---- by clients

// A request comes. It is taken in, or Refuse says why not: kQueueFull ("server busy, please try again.  maximum pending
// requests exceeded") when it would be queued and waiting_max are queued already, kUnavailable after a Shutdown, or the
// cached error of a model that failed to load and is backing off. Of one that is refused nothing is kept.
struct Admit {
  Arrival arrival;
};
// The client is gone: a waiting request is forgotten without a further word, a running one gets CancelOnRunner and
// holds its slot until Finished. Unknown requests are ignored.
struct Cancel {
  RequestId request;
};
// At once if it is idle, else when the running and waiting requests are done. A pinned model goes too, and stays away
// until the next request for it.
struct Unload {
  ModelId model;
};
// From now on every arrival is refused, waiting ones fail with kUnavailable, running ones go on; idle runners stop.
struct Shutdown {};
// Replaces memory_bytes_max, for instance because others on this machine take more. What runs is not cut short.
struct MemoryBound {
  std::uint64_t bytes = 0;
};

// ---- by runners

struct LoadProgress {
  RunnerId runner;
  float fraction = 0;
};
struct Loaded {
  RunnerId runner;
  int slots = 1;
  int context_length = 0;
  std::uint64_t memory_bytes = 0;
};
// A loaded runner can now take so many requests at a time, 1 or more. What runs is not cut short: with fewer slots
// than running requests, the next one is dispatched when enough of them have finished.
struct SlotsChanged {
  RunnerId runner;
  int slots = 1;
};
// The load failed; RunnerGone still follows, without StopRunner. `memory`: for lack of it, so one idle model is evicted
// and the load is tried once more. kNotFound: the model has been deleted; those that waited are told, and the next one
// may find it there again.
struct LoadFailed {
  RunnerId runner;
  Error error;
  bool memory = false;
};
// Something of this request's answer has gone to its client, so that it cannot be replayed.
struct OutputSent {
  RequestId request;
};
// The request has ended on its runner, in whatever way; its slot is free. What it took is for a replay of the day
// (src/replay): the policy does not look at it.
struct Finished {
  RequestId request;
  std::uint32_t prompt_tokens = 0;  // computed: those that were in the prefix cache are left out
  std::uint32_t output_tokens = 0;
};
// The runner made a step.
struct Progress {
  RunnerId runner;
};
// Whose fault it is if this runner is found to hang. Replaces what was said before.
struct Blamed {
  RunnerId runner;
  Blame blame;
};
// The process has ended, asked to or not. The request whose fault it is fails; the others that had a slot on it and
// had sent nothing are replayed, ahead of others, and get their time to wait anew. If nobody knows whose fault it is,
// each of them is replayed alone, until it has sent something: a second death has one culprit. A runner that is
// killed from outside is nobody's fault, but a request that loses too many that way is looked at alone, and then fails.
// A runner that ends while it loads is started once more before its requests fail.
struct RunnerGone {
  RunnerId runner;
  std::string how;
  Blame blame;
};

// Time has passed: applies everything that is due.
struct Tick {};

}  // namespace event

using Event =
    std::variant<event::Admit, event::Cancel, event::Unload, event::Shutdown, event::MemoryBound, event::LoadProgress,
                 event::Loaded, event::SlotsChanged, event::LoadFailed, event::OutputSent, event::Finished,
                 event::Progress, event::Blamed, event::RunnerGone, event::Tick>;

// ---- actions, to be carried out in this order; none may be skipped

struct StartRunner {
  RunnerId runner;
  ModelId model;
  int context_length;
};
enum class StopReason { kIdle, kEvicted, kAskedFor, kHung, kLoadStalled, kAbandoned, kGrown, kShutdown };
struct StopRunner {
  RunnerId runner;
  StopReason reason;
};  // kHung and kLoadStalled: kill, and report nothing of this runner any more but RunnerGone; the others have no
    // requests: ask, then kill
struct Dispatch {
  RequestId request;
  RunnerId runner;
};  // the request has a slot on this runner
struct CancelOnRunner {
  RequestId request;
  RunnerId runner;
};  // free its slot; answer with Finished
struct Complete {
  RequestId request;
};  // a load_only request: the model is in memory
struct Fail {
  RequestId request;
  Error error;
  std::optional<Duration> retry_after;
};  // its one outcome
struct Refuse {
  RequestId request;
  Error error;
};  // it was not taken in; the only thing that follows from its Admit

// Why something was decided, for those who look into it; only if the configuration asks for it. The text is what
// happens to the request, or without one to the model: "gets slot 2 of 4 after 0.1 s"; `other` is the model because of
// which it does.
struct Explanation {
  ModelId model;
  RequestId request;
  std::string text;
  std::optional<ModelId> other;
};

using Action = std::variant<StartRunner, StopRunner, Dispatch, CancelOnRunner, Complete, Fail, Refuse, Explanation>;

}  // namespace drover
