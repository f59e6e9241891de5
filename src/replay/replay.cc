#include "replay/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <queue>
#include <utility>

#include "policy/dispatcher.h"

namespace drover {
namespace {

// Waits that differ by less are the same, however short they are.
constexpr double kWaitErrorSeconds = 0.005;
constexpr double kStraysMax = 0.001;  // of all events
constexpr double kCountErrorMax = 0.01;

Duration duration_of(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

DispatcherConfig config_of(const Recording& recording, const Changes& changes) {
  DispatcherConfig config = recording.config;
  // Nothing hangs and no load stalls in a replay.
  config.hang_timeout = config.load_timeout = Duration::zero();
  config.slots = std::max(changes.parallel.value_or(config.slots), 1);
  config.waiting_max = changes.queue_max.value_or(config.waiting_max);
  config.loaded_models_max = changes.loaded_models_max.value_or(config.loaded_models_max);
  config.request_timeout = changes.request_timeout.value_or(config.request_timeout);
  return config;
}

class Play {
 public:
  Play(const Recording& recording, const Day& day, const std::map<ModelId, ServiceModel>& models,
       const Changes& changes)
      : recording_(recording),
        day_(day),
        models_(models),
        changes_(changes),
        dispatcher_(config_of(recording, changes)),
        end_(kDayBegins + day.length) {}

  Outcome run() {
    while (next()) {
    }
    return ledger_.outcome();
  }

 private:
  enum class Kind { kLoaded, kGone, kCanceled };
  struct Due {
    TimePoint at;
    std::uint64_t order = 0;
    Kind kind = Kind::kLoaded;
    std::uint64_t id = 0;  // of a runner or a request
    friend bool operator>(const Due& a, const Due& b) { return a.at != b.at ? a.at > b.at : a.order > b.order; }
  };
  struct Running {
    RequestId request;
    double left = 0;         // seconds of work
    std::uint64_t rank = 0;  // in which order it ended in the record
  };
  struct Runner {
    ModelId model;
    event::Loaded loaded;
    std::vector<Running> running;
    TimePoint changed;
    TimePoint first_end = kNever;  // when the first of those that run has done its work
  };

  // ---- time

  // Does what comes first: an end of a service, what is due otherwise, a tick, what the record has. False: the day is
  // over.
  bool next() {
    Runner* ending = nullptr;
    for (auto& [id, runner] : runners_)
      if (!ending || runner.first_end < ending->first_end) ending = &runner;
    const TimePoint end = ending ? ending->first_end : kNever;
    const TimePoint due = dues_.empty() ? kNever : dues_.top().at;
    const TimePoint tick = dispatcher_.next_due();
    const TimePoint recorded = at_ < recording_.events.size() ? kDayBegins + recording_.events[at_].at : kNever;
    const TimePoint first = std::min({end, due, tick, recorded});
    if (first > end_ || at_ == recording_.events.size()) return false;
    now_ = std::max(now_, first);
    if (end == first) {
      end_service(*ending);
    } else if (due == first) {
      const Due what = dues_.top();
      dues_.pop();
      happen(what);
    } else if (recorded == first) {
      happen(recording_.events[at_++]);
    } else {
      tell(event::Tick{});
    }
    return true;
  }

  void schedule(Duration after, Kind kind, std::uint64_t id) { dues_.push({now_ + after, ++dues_made_, kind, id}); }

  void tell(const Event& event) {
    for (const Action& action : dispatcher_.apply(event, now_)) {
      ledger_.decided(action, now_);
      std::visit([this](const auto& what) { perform(what); }, action);
    }
  }

  // ---- what the record has

  void happen(const RecordedEvent& recorded) {
    if (const auto* admit = std::get_if<event::Admit>(&recorded.event)) return admit_again(admit->arrival);
    if (const auto* changed = std::get_if<event::SlotsChanged>(&recorded.event)) return change_slots(*changed);
    const Event& event = recorded.event;
    if (std::holds_alternative<event::Cancel>(event) || std::holds_alternative<event::Unload>(event) ||
        std::holds_alternative<event::Shutdown>(event) || std::holds_alternative<event::MemoryBound>(event))
      tell(event);
  }

  void admit_again(Arrival arrival) {
    // A client is recorded as logs show it and a number, "key:12345678/user~89abcdef".
    const std::string shown = arrival.client.substr(0, arrival.client.rfind('~'));
    auto weight = changes_.weights.find(shown);
    if (weight == changes_.weights.end() && shown.starts_with("key:"))
      weight = changes_.weights.find(shown.substr(0, shown.find('/')));
    if (weight != changes_.weights.end()) arrival.client_weight = weight->second;
    ledger_.arrived(arrival, now_);
    tell(event::Admit{std::move(arrival)});
  }

  // A runner that chose its number of slots chose it for its model: what runs it now has it too.
  void change_slots(const event::SlotsChanged& changed) {
    const auto model = day_.runners.find(changed.runner);
    if (model == day_.runners.end() || changes_parallel(model->second)) return;
    for (auto& [id, runner] : runners_)
      if (runner.model == model->second) return tell(event::SlotsChanged{id, changed.slots});
  }

  // ---- what runners do

  const ServiceModel& model_of(const Runner& runner) const { return models_.at(runner.model); }

  // Does the work of the time since the last change.
  void settle(Runner& runner) {
    const double slowdown = model_of(runner).slowdown(static_cast<int>(runner.running.size()));
    const double done = to_seconds(now_ - runner.changed) / slowdown;
    for (Running& running : runner.running) running.left -= done;
    runner.changed = now_;
  }

  void foresee(Runner& runner) {
    runner.first_end = kNever;
    if (runner.running.empty()) return;
    const double slowdown = model_of(runner).slowdown(static_cast<int>(runner.running.size()));
    runner.first_end = now_ + duration_of(std::max(first_of(runner)->left, 0.0) * slowdown);
  }

  // Those that end in one step end in the order in which they did.
  static std::vector<Running>::iterator first_of(Runner& runner) {
    constexpr double kOneStep = 1e-6;  // seconds
    const auto first = std::min_element(runner.running.begin(), runner.running.end(),
                                        [](const Running& a, const Running& b) { return a.left < b.left; });
    return std::min_element(runner.running.begin(), runner.running.end(), [&](const Running& a, const Running& b) {
      const bool a_ends = a.left <= first->left + kOneStep;
      const bool b_ends = b.left <= first->left + kOneStep;
      return a_ends != b_ends ? a_ends : a_ends && a.rank < b.rank;
    });
  }

  void end_service(Runner& runner) {
    settle(runner);
    leave(runner, first_of(runner));
  }

  void leave(Runner& runner, std::vector<Running>::iterator which) {
    const RequestId request = which->request;
    runner.running.erase(which);
    runner_of_.erase(request);
    foresee(runner);
    tell(event::Finished{request});
  }

  void happen(const Due& due) {
    if (due.kind == Kind::kCanceled) {
      const auto found = runner_of_.find(RequestId{due.id});
      if (found == runner_of_.end()) return;  // it was done before
      Runner& runner = runners_.at(found->second);
      settle(runner);
      leave(runner, std::find_if(runner.running.begin(), runner.running.end(),
                                 [&](const Running& one) { return one.request.value == due.id; }));
      return;
    }
    const RunnerId id{due.id};
    const auto found = runners_.find(id);
    if (found == runners_.end()) return;
    if (due.kind == Kind::kLoaded) return tell(found->second.loaded);
    runners_.erase(found);
    tell(event::RunnerGone{id, "asked to", {}});
  }

  // ---- what the policy decides

  template <typename Other>
  void perform(const Other&) {}

  // The next load of a model takes what its next one took in the record.
  void perform(const StartRunner& start) {
    Runner& runner = runners_[start.runner];
    runner.model = start.model;
    const ModelDay& recorded = day_.models.at(start.model);
    const std::size_t number = loads_[start.model]++;
    Duration took = models_.at(start.model).load_mean;
    if (!recorded.loads.empty()) runner.loaded = recorded.loads[std::min(number, recorded.loads.size() - 1)].second;
    if (number < recorded.loads.size()) took = recorded.loads[number].first;
    runner.loaded.runner = start.runner;
    runner.loaded.context_length = std::max(runner.loaded.context_length, start.context_length);
    if (changes_parallel(start.model) || recorded.loads.empty()) runner.loaded.slots = config_slots();
    schedule(took, Kind::kLoaded, start.runner.value);
  }

  void perform(const StopRunner& stop) {
    const Runner& runner = runners_.at(stop.runner);
    const std::vector<Duration>& recorded = day_.models.at(runner.model).stops;
    const std::size_t number = stops_[runner.model]++;
    schedule(number < recorded.size() ? recorded[number] : model_of(runner).stop_mean, Kind::kGone, stop.runner.value);
  }

  void perform(const Dispatch& dispatch) {
    Runner& runner = runners_.at(dispatch.runner);
    settle(runner);
    const auto recorded = day_.services.find(dispatch.request);
    const std::uint64_t rank = recorded == day_.services.end() ? 0 : recorded->second.rank;
    runner.running.push_back({dispatch.request, work_of(dispatch.request, model_of(runner)), rank});
    runner_of_[dispatch.request] = dispatch.runner;
    foresee(runner);
  }

  void perform(const CancelOnRunner& cancel) {
    const auto found = day_.services.find(cancel.request);
    const bool known = found != day_.services.end() && found->second.cancel_lag;
    schedule(known ? *found->second.cancel_lag : model_of(runners_.at(cancel.runner)).cancel_lag, Kind::kCanceled,
             cancel.request.value);
  }

  // Of one that did not come to its end in the record, no more is known than that it took so much.
  double work_of(RequestId request, const ServiceModel& model) const {
    const auto found = day_.services.find(request);
    if (found == day_.services.end()) return model.work_mean;
    const double work = model.work(found->second);
    return found->second.finished ? work : std::max(work, model.work_mean);
  }

  bool changes_parallel(ModelId model) const { return changes_.parallel && day_.models.at(model).heeds_parallel(); }
  int config_slots() const { return std::max(changes_.parallel.value_or(recording_.config.slots), 1); }

  const Recording& recording_;
  const Day& day_;
  const std::map<ModelId, ServiceModel>& models_;
  const Changes& changes_;
  Dispatcher dispatcher_;
  Ledger ledger_;
  TimePoint now_ = kDayBegins;
  const TimePoint end_;
  std::size_t at_ = 0;  // the next event of the record
  std::map<RunnerId, Runner> runners_;
  std::unordered_map<RequestId, RunnerId> runner_of_;
  std::map<ModelId, std::size_t> loads_;
  std::map<ModelId, std::size_t> stops_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> dues_;
  std::uint64_t dues_made_ = 0;
};

// ---- whether it can be believed

bool differs(double recorded, double replayed) {
  return std::abs(replayed - recorded) > std::max(kWaitErrorMax * recorded, kWaitErrorSeconds);
}

std::optional<std::string> why_not_reproduced(const Outcome& recorded, const Outcome& replayed) {
  const auto count = static_cast<double>(recorded.waits.count());
  const auto again = static_cast<double>(replayed.waits.count());
  if (std::abs(again - count) > std::max(kCountErrorMax * count, 1.0))
    return fmt::format("{} requests had a slot and {} have one in a replay under the same settings", count, again);
  const auto text = [](const char* figure, double was, double is) {
    return fmt::format("the {} wait was {:.3f} s and is {:.3f} s in a replay under the same settings", figure, was, is);
  };
  if (differs(recorded.waits.mean(), replayed.waits.mean()))
    return text("mean", recorded.waits.mean(), replayed.waits.mean());
  for (const auto& [share, name] : {std::pair{0.5, "median"}, {0.95, "95th percentile"}}) {
    const double was = recorded.waits.quantile(share);
    const double is = replayed.waits.quantile(share);
    if (differs(was, is)) return text(name, was, is);
  }
  return std::nullopt;
}

// What the record does not say and the changes would need; else notes what is taken for granted.
std::optional<std::string> why_not_with(const Changes& changes, const Recording& recording, const Day& day,
                                        Answer& answer) {
  if (!changes.parallel || *changes.parallel == recording.config.slots) return std::nullopt;
  answer.notes.push_back("memory for another number of slots is taken to be what it was");
  for (const auto& [id, model] : answer.models) {
    if (model.running_max == 0 || !day.models.at(id).heeds_parallel()) continue;
    if (!model.knows_steps)
      return fmt::format(
          "the record does not say how long {} takes with another number of requests at a time: it has no answers that "
          "ran beside different numbers of others",
          answer.names[id]);
    if (*changes.parallel > model.running_max)
      answer.notes.push_back(
          fmt::format("no more than {} requests ran on {} at a time: beyond that its steps are "
                      "taken to go on growing as they did",
                      model.running_max, answer.names[id]));
  }
  return std::nullopt;
}

}  // namespace

Outcome play(const Recording& recording, const Day& day, const std::map<ModelId, ServiceModel>& models,
             const Changes& changes) {
  return Play(recording, day, models, changes).run();
}

Answer answer(const Recording& recording, const Changes& changes) {
  Answer answer;
  const Day day = watch(recording);
  answer.recorded = day.outcome;
  for (const auto& [id, model] : day.models) answer.names[id] = model.name;
  if (static_cast<double>(day.strays) > kStraysMax * static_cast<double>(recording.events.size())) {
    answer.why_not = fmt::format(
        "{} of {} events do not fit to what the policy decides: the record is of another version, or was begun late",
        day.strays, recording.events.size());
    return answer;
  }
  if (day.outcome.waits.count() == 0) {
    answer.why_not = "no request had a slot";
    return answer;
  }
  if (recording.cut) answer.notes.push_back("the last line of the record is not whole, and left out");
  if (day.faults > 0)
    answer.notes.push_back(fmt::format("{} loads failed or runners died or hung: not in a replay", day.faults));
  answer.models = learn(day);
  answer.replayed = play(recording, day, answer.models, {});
  answer.why_not = why_not_reproduced(answer.recorded, answer.replayed);
  if (!answer.why_not) answer.why_not = why_not_with(changes, recording, day, answer);
  if (!answer.why_not) answer.changed = play(recording, day, answer.models, changes);
  return answer;
}

}  // namespace drover
