#include "dispatch_sim_world.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace drover::sim {

using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr Duration kStopMax = 1s;      // from being asked to end to being gone
constexpr Duration kKillMax = 100ms;   // from being killed to being gone
constexpr Duration kCancelMax = 50ms;  // from a cancel to a free slot
// More steps than that per request mean that it goes round in circles.
constexpr std::uint64_t kStepsPerRequestMax = 500;
constexpr Blame kFromOutside = {.request = {}, .from_outside = true};

// Clients with weights wait side by side for one slot, so that their shares show.
void crowd(Scenario& s) {
  s.weighted = true;
  s.clients = 5;
  s.slots_max = s.config.slots = 1;
  s.config.low_ageing = 0s;
  s.config.request_timeout = 0s;
  s.config.waiting_max = 512;
  s.visitor = 0.01;
  s.gap_mean = s.service_max / 4 / std::min(static_cast<int>(s.models.size()), s.config.loaded_models_max);
}

}  // namespace

Scenario make_scenario(std::uint64_t seed, int requests) {
  Random random(seed * 0x9e3779b97f4a7c15 + 1);
  Scenario s;
  const bool calm = seed % 4 == 0;
  s.requests = requests;
  s.weighted = seed % 3 == 0;
  const int models = 1 + static_cast<int>(random.below(6));
  std::uint64_t largest = 0;
  for (int i = 0; i < models; ++i) {
    Scenario::Model model;
    model.weights = (1 + random.below(64)) * 128 * kMiB;
    model.per_token = (random.below(4)) * 32 * 1024;
    model.load_max = random.one_of<Duration>({200ms, 2s, 10s});
    if (!calm) {
      model.estimate_error_max = random.one_of({0.0, 0.0, 0.3});
      model.broken = random.chance(0.02);
      model.pinned = models > 1 && random.chance(0.08);
      if (random.chance(0.1)) model.load_max = 15min;
    }
    largest = std::max(largest, model.weights + model.per_token * model.default_context);
    s.models.push_back(model);
  }
  DispatcherConfig& config = s.config;
  config.loaded_models_max = 1 + static_cast<int>(random.below(3));
  if (random.chance(0.7))
    config.memory_bytes_max = static_cast<std::uint64_t>(static_cast<double>(largest) * (1 + 2 * random.unit()));
  config.waiting_max = random.one_of<std::size_t>({0, 1, 16, 128, 512, 512, 5000});
  config.request_timeout = random.one_of<Duration>({0s, 0s, 10s, 60s, 300s});
  config.residence_min = random.one_of<Duration>({0s, 1s, 5s, 20s});
  config.low_ageing = random.one_of<Duration>({0s, 1s, 30s});
  config.load_timeout = random.one_of<Duration>({20s, 300s});
  config.hang_timeout = random.one_of<Duration>({10s, 60s});
  s.slots_max = random.one_of({1, 1, 2, 4, 16});
  config.slots = s.slots_max;
  s.clients = random.one_of({1, 2, 5, 50});
  s.service_max = random.one_of<Duration>({100ms, 1s, 10s});
  // From an idle server to three times what it can do.
  const double load = random.one_of({0.1, 0.3, 0.6, 0.9, 2.0});
  s.gap_mean = Duration(static_cast<std::int64_t>(static_cast<double>(s.service_max.count()) / 2 / load / s.slots_max /
                                                  std::min(models, config.loaded_models_max)));
  s.burst = random.one_of({0.0, 0.01, 0.1});
  s.visitor = random.one_of({0.0, 0.01, 0.3});
  s.leaves = random.one_of({0.0, 0.05, 0.4});
  s.load_only = random.one_of({0.0, 0.05});
  s.own_timeout = random.one_of({0.0, 0.1});
  s.other_priority = random.one_of({0.0, 0.0, 0.3});
  s.unload = random.one_of({0.0, 0.005});
  s.early_shutdown = random.chance(0.1);
  if (calm) {
    const Duration turn = config.residence_min + s.service_max + kStopMax + 10s;
    s.traits.lack_max = turn * (models + 1);
    config.load_timeout = 300s;
    return s;
  }
  s.larger_context = random.one_of({0.0, 0.05, 0.3});
  s.new_bound = random.one_of({0.0, 0.0, 0.003});
  const double faults = random.one_of({0.0, 1.0, 5.0});
  s.load_fails = 0.05 * faults;
  s.load_memory_fails = 0.05 * faults;
  s.load_dies = 0.03 * faults;
  s.load_stalls = 0.01 * faults;
  s.killed = 0.01 * faults;
  s.stopped = 0.004 * faults;
  s.poison = random.one_of({0.002, 0.002, 0.03}) * faults;
  s.blamed = random.one_of({0.0, 0.5, 1.0});
  s.whole = random.one_of({0.0, 0.5});
  s.new_slots = random.one_of({0.0, 0.01, 0.05});
  if (seed % 12 == 9) crowd(s);
  return s;
}

World::World(std::uint64_t seed, const Scenario& scenario, Mutation mutation)
    : scenario_(scenario),
      random_(seed),
      subject_(scenario.config, mutation),
      checker_(scenario.config, scenario.traits) {
  schedule(0s, Kind::kArrive, 0);
}

std::optional<std::string> World::run() {
  const std::uint64_t steps_max = 10000 + kStepsPerRequestMax * static_cast<std::uint64_t>(scenario_.requests);
  for (std::uint64_t steps = 0; next(); ++steps) {
    pump();
    if (checker_.violation()) return checker_.violation();
    if (steps > steps_max) return "it goes round in circles";
  }
  checker_.ended(subject_.dispatcher());
  return checker_.violation();
}

// One event, or one tick. False when nothing is left.
bool World::next() {
  if (requests_made_ >= static_cast<std::uint64_t>(scenario_.requests) && requests_.empty() && !shutdown_planned_) {
    shutdown_planned_ = true;
    schedule(random_.between(0s, 20min), Kind::kShutdown, 0);
  }
  const TimePoint due = subject_.dispatcher().next_due();
  if (events_.empty() && due == kNever) return false;
  if (events_.empty() || due <= events_.top().at || random_.chance(0.01)) {
    now_ = std::max(now_, events_.empty() ? due : std::min(due, events_.top().at));
    subject_.tell(event::Tick{}, now_);
    checker_.ticked();
    return true;
  }
  const Event event = events_.top();
  events_.pop();
  now_ = event.at;
  handle(event);
  return true;
}

void World::pump() {
  const std::vector<Action> actions = subject_.take_actions(now_);
  checker_.acted(actions, subject_.dispatcher(), now_);
  if (checker_.violation()) return;
  for (const Action& action : actions) std::visit([&](const auto& one) { apply(one); }, action);
}

void World::schedule(Duration after, Kind kind, std::uint64_t id, int attempt) {
  events_.push({now_ + after, ++events_made_, kind, id, attempt});
}

void World::handle(const Event& event) {
  switch (event.kind) {
    case Kind::kArrive:
      return arrive();
    case Kind::kLeave:
      return leave(RequestId{event.id});
    case Kind::kOutput:
      if (running(RequestId{event.id}, event.attempt)) {
        subject_.tell(event::OutputSent{RequestId{event.id}}, now_);
        checker_.output_sent(RequestId{event.id});
      }
      return;
    case Kind::kFinish:
      return finish(RequestId{event.id}, event.attempt);
    case Kind::kPoison:
      return strike(RequestId{event.id}, event.attempt);
    case Kind::kLoadStep:
      return load_step(RunnerId{event.id});
    case Kind::kLoadEnd:
      return load_end(RunnerId{event.id});
    case Kind::kStep:
      return step(RunnerId{event.id});
    case Kind::kStop:
      return hang(RunnerId{event.id}, kFromOutside, std::nullopt);
    case Kind::kDie:
      return die(RunnerId{event.id}, kFromOutside, std::nullopt);
    case Kind::kUnload: {
      const ModelId model{static_cast<std::uint32_t>(event.id)};
      checker_.unloaded(model, subject_.unload(model, now_));
      return;
    }
    case Kind::kShutdown:
      subject_.tell(event::Shutdown{}, now_);
      checker_.shut_down();
      return;
  }
}

// ---- clients

void World::arrive() {
  const int count = random_.chance(scenario_.burst) ? 1 + static_cast<int>(random_.below(100)) : 1;
  Arrival arrival = make_arrival();
  // Those of a burst arrive at the same time, but each is an event of its own to the dispatcher.
  for (int i = 0; i < count && requests_made_ < static_cast<std::uint64_t>(scenario_.requests); ++i) {
    admit(arrival);
    pump();
    if (checker_.violation()) return;
  }
  if (scenario_.new_slots > 0 && random_.chance(scenario_.new_slots)) {
    change_slots();
    pump();
    if (checker_.violation()) return;
  }
  if (random_.chance(scenario_.unload)) schedule(0s, Kind::kUnload, random_.below(scenario_.models.size()));
  if (random_.chance(scenario_.new_bound) && scenario_.config.memory_bytes_max > 0) {
    const auto bytes = static_cast<double>(scenario_.config.memory_bytes_max) * (0.5 + random_.unit());
    subject_.tell(event::MemoryBound{static_cast<std::uint64_t>(bytes)}, now_);
    checker_.memory_bound_set(static_cast<std::uint64_t>(bytes));
  }
  if (requests_made_ < static_cast<std::uint64_t>(scenario_.requests)) {
    const double gap = -std::log(1 - random_.unit()) * static_cast<double>(scenario_.gap_mean.count());
    // Now and then nobody comes for a long time.
    schedule(random_.chance(0.001) ? random_.between(1min, 30min) : Duration(static_cast<std::int64_t>(gap)),
             Kind::kArrive, 0);
    if (scenario_.early_shutdown && !shutdown_planned_ && random_.chance(1.0 / scenario_.requests)) {
      shutdown_planned_ = true;
      schedule(0s, Kind::kShutdown, 0);
    }
  }
}

Arrival World::make_arrival() {
  Arrival arrival;
  // Half of all requests are for the first model.
  const std::size_t model = random_.chance(0.5) ? 0 : random_.below(scenario_.models.size());
  const Scenario::Model& traits = scenario_.models[model];
  arrival.model = ModelId{static_cast<std::uint32_t>(model)};
  if (random_.chance(scenario_.visitor)) {
    arrival.client = fmt::format("visitor {}", requests_made_);
  } else {
    const auto number = random_.below(random_.below(scenario_.clients) + 1);
    arrival.client = fmt::format("client {}", number);
    if (scenario_.weighted) arrival.client_weight = std::array{0.01, 0.5, 3.0, 100.0}[number % 4];
  }
  if (random_.chance(scenario_.other_priority)) arrival.priority = random_.one_of({Priority::kHigh, Priority::kLow});
  if (random_.chance(scenario_.larger_context))
    arrival.needs.context_length = random_.one_of({2048, 8192, 16384, 65536});
  arrival.needs.memory_bytes = memory_of(traits, arrival.needs.context_length);
  arrival.needs.pinned = traits.pinned;
  if (random_.chance(scenario_.own_timeout)) arrival.timeout = random_.between(0s, 2 * scenario_.service_max);
  arrival.keep_alive = random_.one_of<Duration>({0s, 1s, 30s, 5min, 5min, 5min, -1s, Duration::max()});
  arrival.load_only = random_.chance(scenario_.load_only);
  return arrival;
}

void World::admit(Arrival arrival) {
  arrival.request = RequestId{++requests_made_};
  const auto result = subject_.admit(arrival, now_);
  checker_.admitted(arrival, result, now_);
  if (!result.ok()) {
    checker_.told_to_retry(arrival.model, subject_.retry_after(arrival.model, now_));
    return;
  }
  Request& request = requests_[arrival.request];
  request.arrival = arrival;
  request.whole = random_.chance(scenario_.whole);
  request.poison = random_.chance(scenario_.poison);
  if (request.poison) checker_.poisonous(arrival.request);
  if (random_.chance(scenario_.leaves))
    schedule(random_.between(0s, random_.one_of({1, 4, 20}) * scenario_.service_max), Kind::kLeave,
             arrival.request.value);
}

void World::leave(RequestId id) {
  const auto it = requests_.find(id);
  if (it == requests_.end()) return;
  subject_.tell(event::Cancel{id}, now_);
  checker_.canceled(id, now_);
  it->second.leaving = true;
  if (it->second.runner == RunnerId{}) requests_.erase(it);
}

// Of the runner that has served for longest.
void World::change_slots() {
  RunnerId oldest;
  for (const auto& [id, runner] : runners_)
    if (runner.loaded && !runner.deaf && (oldest == RunnerId{} || id < oldest)) oldest = id;
  if (oldest == RunnerId{}) return;
  const int slots = 1 + static_cast<int>(random_.below(scenario_.slots_max));
  subject_.tell(event::SlotsChanged{oldest, slots}, now_);
  checker_.slots_changed(oldest, slots);
}

std::uint64_t World::memory_of(const Scenario::Model& model, int context) const {
  return model.weights + model.per_token * static_cast<std::uint64_t>(context == 0 ? model.default_context : context);
}

// ---- runners

void World::apply(const StartRunner& action) {
  Runner& runner = runners_[action.runner];
  const Scenario::Model& model = scenario_.models[action.model.value];
  runner.model = action.model;
  runner.context_length = action.context_length == 0 ? model.default_context : action.context_length;
  runner.estimate = memory_of(model, runner.context_length);
  if (model.broken || random_.chance(scenario_.load_fails))
    runner.end = LoadEnd::kFailed;
  else if (random_.chance(scenario_.load_memory_fails))
    runner.end = LoadEnd::kNoMemory;
  else if (random_.chance(scenario_.load_dies))
    runner.end = LoadEnd::kDead;
  else if (random_.chance(scenario_.load_stalls))
    runner.end = LoadEnd::kStalled;
  // Ten steps, each of them shorter than the time after which a load counts as stalled, however long they are together.
  const Duration step_max = std::min<Duration>(model.load_max / 10, scenario_.config.load_timeout - 1s);
  runner.load_step = random_.between(step_max / 10, step_max);
  schedule(runner.load_step, Kind::kLoadStep, action.runner.value);
}

void World::load_step(RunnerId id) {
  const auto it = runners_.find(id);
  if (it == runners_.end() || it->second.deaf) return;
  Runner& runner = it->second;
  runner.fraction += 0.1f;
  const bool ends = runner.fraction > 0.95f || (runner.end != LoadEnd::kLoaded && random_.chance(0.2));
  if (ends && runner.end == LoadEnd::kStalled) {
    runner.deaf = true;
    return;
  }
  if (!ends) {
    subject_.tell(event::LoadProgress{id, runner.fraction}, now_);
    checker_.load_progressed(id, runner.fraction, now_);
  }
  schedule(runner.load_step, ends ? Kind::kLoadEnd : Kind::kLoadStep, id.value);
}

void World::load_end(RunnerId id) {
  const auto it = runners_.find(id);
  if (it == runners_.end() || it->second.deaf) return;
  Runner& runner = it->second;
  switch (runner.end) {
    case LoadEnd::kLoaded: {
      const Scenario::Model& model = scenario_.models[runner.model.value];
      runner.loaded = true;
      event::Loaded info;
      info.runner = id;
      info.slots = 1 + static_cast<int>(random_.below(scenario_.slots_max));
      // Some models cannot hold what they are asked to.
      info.context_length = std::min(runner.context_length, 32768);
      const double error = 0.8 + random_.unit() * (0.2 + model.estimate_error_max);
      info.memory_bytes = static_cast<std::uint64_t>(static_cast<double>(runner.estimate) * error);
      subject_.tell(info, now_);
      checker_.loaded(info, now_);
      return;
    }
    case LoadEnd::kFailed:
    case LoadEnd::kNoMemory: {
      const bool memory = runner.end == LoadEnd::kNoMemory;
      runner.deaf = true;
      subject_.tell(event::LoadFailed{id, internal("cannot load"), memory}, now_);
      checker_.load_failed(id, internal("cannot load"), memory, now_);
      schedule(random_.between(0s, kKillMax), Kind::kDie, id.value);
      return;
    }
    case LoadEnd::kDead:
      return die(id, kFromOutside, std::nullopt);
    case LoadEnd::kStalled:
      return;
  }
}

void World::apply(const StopRunner& action) {
  const auto it = runners_.find(action.runner);
  if (it == runners_.end()) return;
  const bool killed = action.reason == StopReason::kHung || action.reason == StopReason::kLoadStalled;
  if (killed) {
    it->second.deaf = true;
    abandon_running(it->second);
  }
  schedule(random_.between(1ms, killed ? kKillMax : kStopMax), Kind::kDie, action.runner.value);
}

void World::apply(const Dispatch& action) {
  Request& request = requests_.at(action.request);
  Runner& runner = runners_.at(action.runner);
  request.runner = action.runner;
  ++request.attempt;
  runner.running.push_back(action.request);
  const Duration service = random_.between(0s, scenario_.service_max);
  if (!request.whole) schedule(service / 4, Kind::kOutput, action.request.value, request.attempt);
  schedule(service, Kind::kFinish, action.request.value, request.attempt);
  if (!std::exchange(runner.stepping, true))
    schedule(scenario_.config.hang_timeout / 3, Kind::kStep, action.runner.value);
  if (request.poison) schedule(random_.between(0s, service), Kind::kPoison, action.request.value, request.attempt);
  if (random_.chance(scenario_.killed))
    schedule(random_.between(0s, service), Kind::kDie, action.runner.value);
  else if (random_.chance(scenario_.stopped))
    schedule(random_.between(0s, service), Kind::kStop, action.runner.value);
}

void World::apply(const CancelOnRunner& action) {
  const Request& request = requests_.at(action.request);
  schedule(random_.between(0s, kCancelMax), Kind::kFinish, action.request.value, request.attempt);
}

// The request, if this is still the attempt that an event was meant for and its runner can speak.
World::Request* World::running(RequestId id, int attempt) {
  const auto it = requests_.find(id);
  if (it == requests_.end() || it->second.attempt != attempt || it->second.runner == RunnerId{}) return nullptr;
  return runners_.at(it->second.runner).deaf ? nullptr : &it->second;
}

void World::finish(RequestId id, int attempt) {
  Request* request = running(id, attempt);
  if (!request) return;
  std::erase(runners_.at(request->runner).running, id);
  requests_.erase(id);
  subject_.tell(event::Finished{id}, now_);
  checker_.finished(id, now_);
}

void World::step(RunnerId id) {
  const auto it = runners_.find(id);
  if (it == runners_.end()) return;
  it->second.stepping = false;
  if (it->second.deaf || it->second.running.empty()) return;
  it->second.stepping = true;
  subject_.tell(event::Progress{id}, now_);
  checker_.progressed(id, now_);
  schedule(scenario_.config.hang_timeout / 3, Kind::kStep, id.value);
}

// The poison works: its runner dies or hangs.
void World::strike(RequestId id, int attempt) {
  const Request* request = running(id, attempt);
  if (!request) return;
  const Blame blame = {.request = random_.chance(scenario_.blamed) ? id : RequestId{}, .from_outside = false};
  if (random_.chance(0.3))
    hang(request->runner, blame, id);
  else
    die(request->runner, blame, id);
}

void World::hang(RunnerId id, const Blame& blame, std::optional<RequestId> by) {
  const auto it = runners_.find(id);
  if (it == runners_.end() || it->second.deaf) return;
  it->second.deaf = true;
  subject_.tell(event::Blamed{id, blame}, now_);
  checker_.blamed(id, blame, by);
}

void World::die(RunnerId id, const Blame& blame, std::optional<RequestId> by) {
  const auto it = runners_.find(id);
  if (it == runners_.end()) return;
  abandon_running(it->second);
  runners_.erase(it);
  subject_.tell(event::RunnerGone{id, "signal 9", blame}, now_);
  checker_.gone(id, now_, blame, by);
}

// Whoever has left is forgotten; the dispatcher decides about the others.
void World::abandon_running(Runner& runner) {
  for (const RequestId id : runner.running) {
    const auto it = requests_.find(id);
    if (it == requests_.end()) continue;
    it->second.runner = RunnerId{};
    if (it->second.leaving) requests_.erase(it);
  }
  runner.running.clear();
}

}  // namespace drover::sim
