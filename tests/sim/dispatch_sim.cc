// The whole dispatcher in virtual time, from a seed.
//
//   dispatch_sim [--requests N] [--seeds A-B]   these seeds, and on until there were so many requests; a seed that
//                                               fails prints itself
//   dispatch_sim --seed S                       one seed, as it ran there
//   dispatch_sim --replay FILE [OPTIONS]        a recorded day under the same or other settings: see dispatch_replay.h
//   dispatch_sim --mutations                    breaks the rules on purpose and shows the seed that catches each
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dispatch_replay.h"
#include "dispatch_sim_world.h"

namespace drover::sim {
namespace {

// The same for every seed, so that one that failed among others can be played again by itself.
constexpr int kRequestsPerSeed = 2000;
constexpr std::uint64_t kSeedsPerMutationMax = 200;

struct Options {
  std::uint64_t requests = 200000;
  std::uint64_t first_seed = 1;
  std::uint64_t last_seed = 1;
  bool mutations = false;
};

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Options> parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--mutations") {
      options.mutations = true;
      continue;
    }
    if (++i == argc) return std::nullopt;
    const std::string_view value = argv[i];
    const std::size_t dash = value.find('-');
    const auto low = number(value.substr(0, dash));
    const auto high = dash == std::string_view::npos ? low : number(value.substr(dash + 1));
    if (!low || !high || *high < *low) return std::nullopt;
    if (name == "--requests") {
      options.requests = *low;
    } else if (name == "--seeds" || name == "--seed") {
      options.first_seed = *low;
      options.last_seed = *high;
      if (name == "--seed") options.requests = 0;
    } else {
      return std::nullopt;
    }
  }
  return options;
}

std::optional<std::string> run_seed(std::uint64_t seed, int requests, Mutation mutation, Checker::Counts& counts) {
  Scenario scenario = make_scenario(seed, requests);
  scenario.traits.compare_views = mutation == Mutation::kNone;
  World world(seed, scenario, mutation);
  auto violation = world.run();
  counts += world.counts();
  return violation;
}

int run_seeds(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  Checker::Counts total;
  int failures = 0;
  std::uint64_t requests = 0;
  std::uint64_t seed = options.first_seed;
  for (; seed <= options.last_seed || requests < options.requests; ++seed) {
    if (auto violation = run_seed(seed, kRequestsPerSeed, Mutation::kNone, total)) {
      fmt::print("seed {}: {}\n  again: dispatch_sim --seed {}\n", seed, *violation, seed);
      ++failures;
    }
    requests += kRequestsPerSeed;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{} requests, seeds {}-{}, {:.1f} s: {} failed seeds\n", requests, options.first_seed, seed - 1, seconds,
             failures);
  fmt::print("admitted {}, refused {}: finished {}, completed {}, canceled {}, timed out {}, failed {}\n",
             total.admitted, total.refused, total.finished, total.completed, total.canceled, total.timed_out,
             total.failed);
  fmt::print("loads {}, idle models evicted {}, turns ended {}, grown {}, hung {}, replayed {}, newcomers {}\n",
             total.loads, total.evictions, total.turns_ended, total.grown, total.hung, total.replayed, total.visitors);
  fmt::print("runners ended by a request {}, replays alone {}\n", total.poisoned, total.alone);
  return failures == 0 ? 0 : 1;
}

int run_mutations() {
  int missed = 0;
  for (const auto& [mutation, name] : kMutations) {
    std::optional<std::string> caught;
    std::uint64_t seed = 0;
    while (!caught && seed < kSeedsPerMutationMax) {
      Checker::Counts counts;
      caught = run_seed(++seed, kRequestsPerSeed, mutation, counts);
    }
    if (caught)
      fmt::print("{:<18} caught by seed {}: {}\n", name, seed, *caught);
    else
      fmt::print("{:<18} NOT CAUGHT in {} seeds\n", name, seed);
    missed += caught ? 0 : 1;
  }
  return missed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace drover::sim

int main(int argc, char** argv) {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  if (std::find(arguments.begin(), arguments.end(), "--replay") != arguments.end())
    return drover::sim::replay(arguments);
  const auto options = drover::sim::parse(argc, argv);
  if (!options) {
    fmt::print(stderr, "usage: dispatch_sim [--requests N] [--seeds A-B] | --seed S | --mutations\n   or: {}\n",
               drover::sim::kReplayUsage);
    return 2;
  }
  return options->mutations ? drover::sim::run_mutations() : drover::sim::run_seeds(*options);
}
