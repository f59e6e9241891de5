#include "fleet/fleet.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "fleet/alarm.h"
#include "fleet/event_recorder.h"
#include "fleet/observer.h"
#include "fleet/pins.h"
#include "fleet/policy_settings.h"
#include "fleet/request_table.h"
#include "fleet/runner.h"
#include "fleet/runner_process.h"
#include "policy/dispatcher.h"

namespace drover {

namespace {

std::unique_ptr<EventRecorder> start_recording(const Settings& settings) {
  if (settings.record_file.empty()) return nullptr;
  const Result<int> file = open_record(settings.record_file);
  if (!file) {
    spdlog::warn("{}", file.error().message);
    return nullptr;
  }
  spdlog::info("recording the events of the policy to {}", settings.record_file);
  const auto say = [](const std::string& why) { spdlog::warn("{}", why); };
  return std::make_unique<EventRecorder>(*file, dispatcher_config(settings), EventRecorder::Bounds{}, say,
                                         Clock::now());
}

}  // namespace

Fleet::Fleet(boost::asio::io_context& io, const Settings& settings, std::string executable)
    : io_(io),
      settings_(settings),
      executable_(std::move(executable)),
      dispatcher_(std::make_unique<Dispatcher>(dispatcher_config(settings))),
      recorder_(start_recording(settings)),
      requests_(
          std::make_unique<RequestTable>(io, settings_, [this](RequestId request) { tell(event::Cancel{request}); })),
      due_(std::make_unique<Alarm>(io)),
      due_at_(kNever),
      observer_(std::make_unique<Observer>()),
      observe_next_(std::make_unique<Alarm>(io)),
      pins_(std::make_unique<Pins>(io, [this](Submission submission) { return submit(std::move(submission)); })) {
  observe();
}

Fleet::~Fleet() = default;

// ---- what the API asks for

Result<std::unique_ptr<Ticket>> Fleet::submit(Submission submission) {
  ModelTarget& target = submission.target;
  // A wish beyond what the model was trained for is no reason to load it anew.
  if (target.trained_context > 0) target.context_length = std::min(target.context_length, target.trained_context);
  const int wished = target.context_length > 0 ? target.context_length : context_default(settings_);
  const int context_loaded = target.trained_context > 0 ? std::min(wished, target.trained_context) : wished;
  ServedModel& model = model_for(target);
  update_memory_bound(Clock::now());

  const TimePoint now = Clock::now();  // not before the last event's: the dispatcher's time never goes back
  Arrival arrival;
  arrival.request = RequestId{++last_request_};
  arrival.model = model.id;
  arrival.client = submission.client;
  arrival.client_weight = weight_of(settings_, submission.identity.client);
  arrival.priority = submission.priority;
  arrival.needs.memory_bytes = target.estimate ? target.estimate(context_loaded) : 0;
  arrival.needs.context_length = target.context_length;
  arrival.needs.pinned = pins_->contains(target.key);
  arrival.timeout = submission.timeout;
  // What is pinned stays, whatever a request says.
  arrival.keep_alive = arrival.needs.pinned ? Duration(-1) : submission.keep_alive.value_or(settings_.keep_alive);
  arrival.load_only = submission.load_only;
  const RequestId request = arrival.request;
  auto entry = requests_->make(request, std::move(submission), model, now);
  std::vector<Action> actions =
      decide(event::Admit{std::move(arrival)}, now, entry->record.identity.client, entry->record.model);
  if (!actions.empty())
    if (auto* refuse = std::get_if<Refuse>(&actions.front())) {
      requests_->refuse(*entry, refuse->error, now);
      return std::move(refuse->error);
    }
  auto ticket = requests_->add(std::move(entry));
  carry_out(std::move(actions));
  return ticket;
}

bool Fleet::unload(const std::string& key) {
  const ServedModel* model = models_.find(key);
  if (model == nullptr) return false;
  const bool in_memory = dispatcher_->is_in_memory(model->id);
  tell(event::Unload{model->id});
  return in_memory;
}

void Fleet::pin(const ModelTarget& target) {
  pins_->add(target);
  model_for(target);
}

std::size_t Fleet::cancel(std::string_view identity) {
  return requests_->cancel(identity);
}

void Fleet::note_refused(RequestIdentity identity, const Error& error) {
  requests_->note_refused(std::move(identity), error);
}

void Fleet::shutdown(std::function<void()> done) {
  shutting_down_ = true;
  pins_->stop();
  on_shut_down_ = std::move(done);
  tell(event::Shutdown{});
}

void Fleet::end_now() {
  requests_->fail_all({ErrorCode::kUnavailable, "the server is shutting down"});
  for (const auto& [id, runner] : runners_) runner->kill();
}

// ---- events, decisions, actions

ServedModel& Fleet::model_for(const ModelTarget& target) {
  return models_.of(target, [this](const ServedModel& model) {
    return dispatcher_->is_known(model.id) || pins_->contains(model.target.key);
  });
}

// What is available now, and what the runners have already.
void Fleet::update_memory_bound(TimePoint now) {
  if (!memory_.is_due(now)) return;
  std::uint64_t held = 0;
  for (const auto& [id, runner] : runners_) held += runner->resident_bytes();
  if (memory_.look(held, now)) tell(event::MemoryBound{memory_.bytes_max()});
}

void Fleet::tell(const Event& event) {
  carry_out(decide(event, Clock::now()));
}

std::vector<Action> Fleet::decide(const Event& event, TimePoint now, std::string_view client, std::string_view model) {
  if (recorder_) recorder_->record(event, now, {client, model});
  return dispatcher_->apply(event, now);
}

// To act may make something happen at once: what follows from that is done after what was decided before.
void Fleet::carry_out(std::vector<Action> actions) {
  to_do_.insert(to_do_.end(), std::make_move_iterator(actions.begin()), std::make_move_iterator(actions.end()));
  if (acting_) return;
  acting_ = true;
  while (!to_do_.empty()) {
    const Action action = std::move(to_do_.front());
    to_do_.pop_front();
    std::visit([this](const auto& what) { perform(what); }, action);
  }
  acting_ = false;
  share_processors();
  arm_alarm();
  if (on_shut_down_ && requests_->size() == 0 && runners_.empty()) {
    boost::asio::post(io_, std::exchange(on_shut_down_, nullptr));
  }
}

void Fleet::perform(const StartRunner& action) {
  ServedModel& model = models_.at(action.model);
  auto runner = Runner::start(io_, executable_, settings_, action.runner, model, action.context_length,
                              requests_->metrics().of(model.target.name),
                              {*requests_, [this](const Event& event) { tell(event); },
                               [this](RunnerId id, const RunnerEnd& end) { on_gone(id, end); }});
  if (runner) {
    runners_.emplace(action.runner, std::move(*runner));
    return;
  }
  tell(event::LoadFailed{action.runner, runner.error(), false});
  tell(event::RunnerGone{action.runner, runner.error().message, {}});
}

void Fleet::perform(const StopRunner& action) {
  const auto found = runners_.find(action.runner);
  if (found == runners_.end()) return;
  requests_->release(action.runner);
  found->second->stop(action.reason);
}

void Fleet::perform(const Dispatch& action) {
  Runner& runner = *runners_.at(action.runner);
  runner.send(requests_->give_slot(action.request, action.runner, runner.load(), Clock::now()));
}

void Fleet::perform(const CancelOnRunner& action) {
  if (const auto found = runners_.find(action.runner); found != runners_.end()) found->second->cancel(action.request);
}

void Fleet::perform(const Complete& action) {
  requests_->finish_load(action.request);
}

void Fleet::perform(const Fail& action) {
  requests_->fail(action.request, action.error, action.retry_after);
}

// Threads of several runners on the same processors would wait for each other at each barrier of a step (ADR 14).
void Fleet::share_processors() {
  const int busy = std::max(dispatcher_->busy_runners(), 1);
  for (const auto& [id, runner] : runners_) runner->share(busy);
}

void Fleet::arm_alarm() {
  const TimePoint due = dispatcher_->next_due();
  if (due == due_at_) return;
  due_at_ = due;
  if (due == kNever) return due_->cancel();
  due_->set(due, [this] { tick(); });
}

void Fleet::tick() {
  due_at_ = kNever;
  for (const auto& [id, runner] : runners_) runner->tell_blame(Clock::now());
  tell(event::Tick{});
}

void Fleet::on_gone(RunnerId id, const RunnerEnd& end) {
  const auto found = runners_.find(id);
  if (found == runners_.end()) return;
  const auto* culprit = requests_->find(end.culprit);
  found->second->note_end(end, culprit == nullptr ? "" : "request " + culprit->record.identity.id);
  requests_->release(id);
  runners_.erase(found);
  tell(event::RunnerGone{id, end.how, {.request = end.culprit, .from_outside = end.from_outside}});
}

// ---- what it looks at every few seconds, until the server ends

void Fleet::observe() {
  const Observer::Bounds bounds = {.parallel = static_cast<std::uint64_t>(std::max(settings_.parallel, 0)),
                                   .runners_max = static_cast<std::uint64_t>(loaded_models_max(settings_)),
                                   .memory_bytes_max = memory_.bytes_max()};
  observer_->observe(loaded(), requests_->metrics(), bounds,
                     [this](const LoadedModelView& view) { return memory_for_more(view); });
  observe_next_->set(Clock::now() + kHistoryInterval, [this] { observe(); });
}

}  // namespace drover
