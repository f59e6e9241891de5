// Runs one level of a load test: so many requests at once, or so many a second.
//
// Closed loop: N users, each of whom sends its next request when it has the answer to the last. A slow server is asked
// less, so latencies are those that N users see, and no others.
// Open loop: requests are due at random times (Poisson), whether or not earlier ones are done. Latencies count from
// when a request was due, not from when it could be sent: a server that stalls is charged for all who came meanwhile
// (no coordinated omission).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "load_test/bench_answer.h"
#include "load_test/bench_prompts.h"
#include "load_test/bench_stats.h"
#include "net/http_loop.h"

namespace drover::cli {

// Whom to ask.
struct BenchTarget {
  std::string url;  // without a path that belongs to the API
  std::string model;
  BenchApi api = BenchApi::kOllama;
  std::string version;  // as the server says; may be empty
};

// What to ask.
struct BenchWork {
  PromptOptions prompts;
  std::uint64_t tokens_max = 64;
  double temperature = 0;
  AnswerMode mode = AnswerMode::kStream;
  std::vector<std::string> headers;
  std::chrono::milliseconds timeout{0};
};

enum class LoopKind { kClosed, kOpen };

struct LevelPlan {
  LoopKind kind = LoopKind::kClosed;
  std::uint64_t at_once = 1;              // closed
  double per_second = 0;                  // open
  std::optional<std::uint64_t> requests;  // ends after so many…
  Nanoseconds duration{};                 // …or begins no more after so long
  std::uint64_t first_number = 0;         // of its prompts
  std::uint64_t seed = 0;                 // of an open loop's times
};

// How busy the load test itself was: figures of a client that cannot keep up are about the client.
struct ClientLoad {
  double cpu_share = 0;   // of one core
  Nanoseconds lag_p99{};  // how late its event loop was, looked at a hundred times a second
  Nanoseconds lag_largest{};
  bool overloaded() const;
};

struct LevelResult {
  LevelPlan plan;
  LevelStats stats;
  ClientLoad client;
  std::uint64_t requests_begun = 0;
  bool interrupted = false;  // requests that were running then count nowhere
};

struct LevelProgress {
  std::uint64_t begun = 0;
  std::uint64_t running = 0;
  std::uint64_t ended = 0;
  std::uint64_t failed = 0;
  std::uint64_t pieces = 0;
  Nanoseconds elapsed{};
};
// Called some times a second; false interrupts.
using OnProgress = std::function<bool(const LevelProgress&)>;

// Blocks until the level is done. Never fails: what goes wrong is counted.
LevelResult run_level(net::HttpLoop& loop, const BenchTarget& target, const BenchWork& work, const LevelPlan& plan,
                      const OnProgress& on_progress);

// The most requests that an open loop has running; those beyond wait, which counts as their latency.
inline constexpr std::uint64_t kBenchRunningMax = 4096;

}  // namespace drover::cli
