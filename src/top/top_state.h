// What `drover top` knows of a server, read from the answers of its API. Pure: the time is an argument.
//
// Every part is optional: Ollama has only /api/ps, and says neither what runs nor what waits.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "client/json.h"
#include "terminal/format.h"

namespace drover::cli {

struct TopModel {
  std::string name;
  std::string state;  // as the server calls it; empty: it does not say
  bool generates = true;
  std::optional<std::uint64_t> running;  // generations
  std::optional<std::uint64_t> waiting;  // for whatever
  std::optional<std::uint64_t> slots;
  std::optional<std::uint64_t> embed_running;  // requests for embeddings; none: it has no runner for them
  std::optional<std::uint64_t> embed_slots;
  std::optional<double> load_fraction;  // while it loads: 0 to 1
  std::optional<double> tokens_per_second;
  std::optional<double> cells_used;  // of its context memory: 0 to 1
  std::uint64_t memory = 0;          // bytes, those on devices included
  std::uint64_t device_memory = 0;   // bytes
  std::optional<Timestamp> expires;
};

struct TopRequest {
  std::string id;
  std::string model;
  std::string client;
  std::string phase;
  std::string priority;
  std::optional<std::uint64_t> position;  // in the queue, from 1; none: it runs
  std::chrono::nanoseconds age{};
  std::optional<std::chrono::nanoseconds> estimated_wait;
  std::uint64_t prompt_tokens = 0;
  std::uint64_t output_tokens = 0;
};

struct TopGpu {
  std::string name;
  std::uint64_t memory_used = 0;   // bytes
  std::uint64_t memory_total = 0;  // bytes
  std::optional<int> use_percent;
};

// The machine that `drover top` runs on; shown only if the server runs there too.
struct TopMachine {
  int cores = 0;
  std::optional<double> cpu_percent;  // of all cores
  std::uint64_t memory_used = 0;      // bytes
  std::uint64_t memory_total = 0;     // bytes
  std::vector<TopGpu> gpus;
};

struct TopState {
  std::string url;
  std::string version;
  std::string problem;  // why the figures are old, or missing
  std::vector<TopModel> models;
  std::vector<TopRequest> requests;  // those that run first, then by position
  std::string advice;                // which setting would help those that wait; empty: none
  bool has_queue = false;            // whether the server lists its requests
  bool has_rates = false;            // whether it counts tokens
  std::uint64_t requests_left_out = 0;
  std::optional<TopMachine> machine;
};

// The most requests and models that are kept of an answer.
inline constexpr std::size_t kTopRowsMax = 10'000;

std::vector<TopModel> read_models(const Json& ps);
// `left_out`: how many there are that the server did not list, or that are more than kTopRowsMax.
std::vector<TopRequest> read_requests(const Json& queue, std::uint64_t& left_out);

// Puts tokens a second, by the model's name, where they are shown: a model and the one that replaces it have one name,
// and their tokens are counted together.
void show_rates(std::vector<TopModel>& models, const std::map<std::string, double>& rates);

// The values of a counter in Prometheus' text format, summed up by the label "model"; empty if it is not there.
std::map<std::string, double> read_counter(std::string_view metrics, std::string_view name);

// Rates from counters that are looked at now and then.
class RateMeter {
 public:
  // Takes new values, and gives what was added a second since the last time; nothing the first time, and 0 for a
  // counter that began anew.
  std::map<std::string, double> update(std::map<std::string, double> values, TimePoint now);

 private:
  std::map<std::string, double> last_;
  std::optional<TimePoint> last_time_;
};

}  // namespace drover::cli
