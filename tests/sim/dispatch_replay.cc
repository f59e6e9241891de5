#include "dispatch_replay.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#include "replay/replay.h"

namespace drover::sim {
namespace {

constexpr std::size_t kClientsShown = 10;

template <typename Number>
bool read(std::string_view text, Number least, Number most, std::optional<Number>& into) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !(value >= least && value <= most)) return false;
  into = value;
  return true;
}

struct Options {
  std::string file;
  Changes changes;
};

bool take(Options& options, std::string_view name, std::string_view value) {
  if (name == "--replay") {
    options.file = value;
    return true;
  }
  if (name == "--parallel") return read(value, 1, 4096, options.changes.parallel);
  if (name == "--max-queue") return read<std::size_t>(value, 0, 1'000'000, options.changes.queue_max);
  if (name == "--max-loaded-models") return read(value, 1, 1000, options.changes.loaded_models_max);
  if (name == "--request-timeout") {
    std::optional<int> seconds;
    if (!read(value, 0, 1'000'000, seconds)) return false;
    options.changes.request_timeout = std::chrono::seconds(*seconds);
    return true;
  }
  if (name == "--weight") {
    const std::size_t equals = value.rfind('=');  // a client may have one in its name
    std::optional<double> weight;
    if (equals == std::string_view::npos || !read(value.substr(equals + 1), 0.01, 100.0, weight)) return false;
    options.changes.weights[std::string(value.substr(0, equals))] = *weight;
    return true;
  }
  return false;
}

std::optional<Options> parse(const std::vector<std::string_view>& arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); i += 2)
    if (i + 1 == arguments.size() || !take(options, arguments[i], arguments[i + 1])) return std::nullopt;
  if (options.file.empty()) return std::nullopt;
  return options;
}

bool changes_anything(const Changes& changes) {
  return changes.parallel || changes.queue_max || changes.loaded_models_max || changes.request_timeout ||
         !changes.weights.empty();
}

void print_waits(const char* name, const Waits& waits) {
  fmt::print("{:<32} {:>9} {:>10.3f} {:>10.3f} {:>10.3f} {:>10.3f}", name, waits.count(), waits.mean(),
             waits.quantile(0.5), waits.quantile(0.95), waits.quantile(0.99));
}

void print_outcome(const char* name, const Outcome& outcome) {
  print_waits(name, outcome.waits);
  fmt::print(" {:>8} {:>9} {:>7}\n", outcome.refused, outcome.timed_out, outcome.failed);
}

void print_clients(const Answer& answer) {
  std::vector<std::pair<std::string, std::size_t>> clients;
  for (const auto& [client, waits] : answer.recorded.clients) clients.emplace_back(client, waits.count());
  if (clients.size() < 2) return;
  std::sort(clients.begin(), clients.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  fmt::print("\nclients with most requests        recorded: count, mean wait      now: count, mean wait\n");
  for (std::size_t i = 0; i < std::min(clients.size(), kClientsShown); ++i) {
    const Waits& was = answer.recorded.clients.at(clients[i].first);
    const auto found = answer.changed.clients.find(clients[i].first);
    const Waits is = found == answer.changed.clients.end() ? Waits{} : found->second;
    fmt::print("{:<32} {:>9} {:>10.3f} s {:>20} {:>10.3f} s\n", clients[i].first, was.count(), was.mean(), is.count(),
               is.mean());
  }
}

void print_models(const Answer& answer) {
  fmt::print("\nwhat models take, as learned from the record\n");
  for (const auto& [id, model] : answer.models) {
    fmt::print("  {}: load {:.2f} s, ", answer.names.at(id), to_seconds(model.load_mean));
    if (model.knows_steps) {
      fmt::print("step {:.2f} ms and {:.2f} ms for each request beside it (up to {} seen)", model.alone * 1e3,
                 model.beside * 1e3, model.running_max);
    } else {
      fmt::print("step unknown (up to {} at a time)", model.running_max);
    }
    if (model.prompt_tokens_per_second > 0) fmt::print(", prefill {:.0f} tokens/s", model.prompt_tokens_per_second);
    fmt::print("\n");
  }
}

int print(const Answer& answer, bool changed) {
  fmt::print("{:<32} {:>9} {:>10} {:>10} {:>10} {:>10} {:>8} {:>9} {:>7}\n", "waits for a slot, in seconds", "requests",
             "mean", "median", "p95", "p99", "refused", "timed out", "failed");
  print_outcome("recorded", answer.recorded);
  if (!answer.models.empty()) print_outcome("replayed, same settings", answer.replayed);
  if (changed && !answer.why_not) print_outcome("replayed, these settings", answer.changed);
  if (!answer.models.empty()) print_models(answer);
  if (!answer.why_not) print_clients(answer);
  for (const std::string& note : answer.notes) fmt::print("note: {}\n", note);
  if (!answer.why_not) return 0;
  fmt::print("\nThis record cannot answer: {}\n", *answer.why_not);
  return 3;
}

}  // namespace

int replay(const std::vector<std::string_view>& arguments) {
  const std::optional<Options> options = parse(arguments);
  if (!options) {
    fmt::print(stderr, "usage: {}\n", kReplayUsage);
    return 2;
  }
  std::ifstream file(options->file, std::ios::binary);
  if (!file) {
    fmt::print(stderr, "{} cannot be read\n", options->file);
    return 1;
  }
  const Result<Recording> recording = read_recording(file);
  if (!recording) {
    fmt::print(stderr, "{}: {}\n", options->file, recording.error().message);
    return 1;
  }
  return print(answer(*recording, options->changes), changes_anything(options->changes));
}

}  // namespace drover::sim
