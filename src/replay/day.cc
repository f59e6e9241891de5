#include "replay/day.h"

#include <algorithm>

#include "policy/dispatcher.h"

namespace drover {
namespace {

class Watch {
 public:
  explicit Watch(const Recording& recording) : recording_(recording), dispatcher_(recording.config) {}

  Day run() {
    for (const RecordedEvent& recorded : recording_.events) {
      now_ = kDayBegins + recorded.at;
      if (const auto* admit = std::get_if<event::Admit>(&recorded.event)) {
        ledger_.arrived(admit->arrival, now_);
        day_.models[admit->arrival.model].name = recorded.model;
      }
      std::visit([this](const auto& event) { before(event); }, recorded.event);
      for (const Action& action : dispatcher_.apply(recorded.event, now_)) {
        ledger_.decided(action, now_);
        std::visit([this](const auto& what) { after(what); }, action);
      }
      day_.length = recorded.at;
    }
    day_.outcome = ledger_.outcome();
    return std::move(day_);
  }

 private:
  struct Runner {
    ModelId model;
    TimePoint started;
    bool loaded = false;
    std::optional<TimePoint> stopped;
    std::vector<RequestId> running;
    TimePoint changed;  // when others ran last
  };
  struct Running {
    RunnerId runner;
    bool answers = false;  // its first output has come
    std::optional<TimePoint> canceled;
  };

  // What has run until now has run together.
  void settle(Runner& runner) {
    const double seconds = to_seconds(now_ - runner.changed);
    const int count = static_cast<int>(runner.running.size());
    for (const RequestId request : runner.running) {
      Service& service = day_.services[request];
      std::vector<Stay>& stays = running_[request].answers ? service.output : service.before_output;
      if (!stays.empty() && stays.back().running == count) {
        stays.back().seconds += seconds;
      } else if (seconds > 0) {
        stays.push_back({count, seconds});
      }
    }
    runner.changed = now_;
  }

  void leave_runner(RequestId request) {
    const auto found = running_.find(request);
    if (found == running_.end()) return;
    Runner& runner = runners_.at(found->second.runner);
    settle(runner);
    std::erase(runner.running, request);
    running_.erase(found);
  }

  void clear(Runner& runner) {
    settle(runner);
    for (const RequestId request : runner.running) running_.erase(request);
    runner.running.clear();
  }

  Runner* find(RunnerId id) {
    const auto found = runners_.find(id);
    if (found == runners_.end()) ++day_.strays;
    return found == runners_.end() ? nullptr : &found->second;
  }

  // ---- events

  template <typename Other>
  void before(const Other&) {}
  void before(const event::Cancel& cancel) {
    if (const auto found = running_.find(cancel.request); found != running_.end() && !found->second.canceled)
      found->second.canceled = now_;
  }
  void before(const event::OutputSent& sent) {
    const auto found = running_.find(sent.request);
    if (found == running_.end()) return;
    settle(runners_.at(found->second.runner));
    found->second.answers = true;
  }
  void before(const event::Finished& finished) {
    const auto found = running_.find(finished.request);
    if (found == running_.end()) {
      ++day_.strays;
      return;
    }
    const std::optional<TimePoint> canceled = found->second.canceled;
    leave_runner(finished.request);
    Service& service = day_.services[finished.request];
    service.prompt_tokens = finished.prompt_tokens;
    service.output_tokens = finished.output_tokens;
    service.rank = ++ended_;
    service.finished = !canceled;
    if (canceled) service.cancel_lag = now_ - *canceled;
  }
  void before(const event::Loaded& loaded) {
    Runner* runner = find(loaded.runner);
    if (runner == nullptr || runner->stopped) return;
    runner->loaded = true;
    day_.models[runner->model].loads.emplace_back(now_ - runner->started, loaded);
  }
  void before(const event::LoadFailed& failed) {
    if (Runner* runner = find(failed.runner)) runner->stopped = now_;
    ++day_.faults;
  }
  void before(const event::RunnerGone& gone) {
    Runner* runner = find(gone.runner);
    if (runner == nullptr) return;
    clear(*runner);
    if (runner->stopped) {
      day_.models[runner->model].stops.push_back(now_ - *runner->stopped);
    } else {
      ++day_.faults;
    }
    runners_.erase(gone.runner);
  }

  // ---- actions

  template <typename Other>
  void after(const Other&) {}
  void after(const StartRunner& start) {
    Runner& runner = runners_[start.runner];
    runner.model = start.model;
    runner.started = runner.changed = now_;
    day_.runners[start.runner] = start.model;
  }
  void after(const StopRunner& stop) {
    Runner& runner = runners_.at(stop.runner);
    runner.stopped = now_;
    if (stop.reason != StopReason::kHung && stop.reason != StopReason::kLoadStalled) return;
    clear(runner);
    ++day_.faults;
  }
  void after(const Dispatch& dispatch) {
    Runner& runner = runners_.at(dispatch.runner);
    settle(runner);
    runner.running.push_back(dispatch.request);
    running_[dispatch.request] = {dispatch.runner, false, std::nullopt};
    day_.services[dispatch.request] = Service{};  // a replay begins anew
    day_.services[dispatch.request].model = runner.model;
  }

  const Recording& recording_;
  Dispatcher dispatcher_;
  Ledger ledger_;
  Day day_;
  TimePoint now_ = kDayBegins;
  std::uint64_t ended_ = 0;
  std::unordered_map<RunnerId, Runner> runners_;
  std::unordered_map<RequestId, Running> running_;
};

}  // namespace

Day watch(const Recording& recording) {
  return Watch(recording).run();
}

}  // namespace drover
