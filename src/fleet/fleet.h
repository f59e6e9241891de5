// The policy's hands: tells it what happens, carries out what it decides, and hands each request's events to its
// client. I/O thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/settings.h"
#include "fleet/memory_probe.h"
#include "fleet/model_table.h"
#include "fleet/request_record.h"
#include "fleet/views.h"
#include "policy/events.h"

namespace boost::asio {
class io_context;
}

namespace drover {

class Alarm;
class Dispatcher;
class EventRecorder;
class History;
class Metrics;
class Observer;
class Pins;
class RequestTable;
class Runner;
class Ticket;
struct Advice;
struct RunnerEnd;
struct Submission;

class Fleet {
 public:
  // `executable` is started as the runner. The memory of this machine limits all runners together.
  Fleet(boost::asio::io_context& io, const Settings& settings, std::string executable);
  ~Fleet();

  // Error: what event::Admit is refused with.
  Result<std::unique_ptr<Ticket>> submit(Submission submission);
  // When a request for this model that was refused may try again.
  Duration retry_after(const std::string& key) const;
  // Unloads a model when its requests are done. False: it is not in memory.
  bool unload(const std::string& key);
  // Loads a model as soon as that is possible, loads it again when its runner dies, and unloads it only if asked to.
  void pin(const ModelTarget& target);
  // Ends the requests that carry this identity, with kCanceled for their clients. How many there were.
  std::size_t cancel(std::string_view identity);
  // A request that never came to be submitted: for the log and the metrics.
  void note_refused(RequestIdentity identity, const Error& error);
  // Refuses new requests and lets running ones finish; `done` is called once no request and no runner is left.
  void shutdown(std::function<void()> done);
  // Ends what still runs, with an error for its clients.
  void end_now();

  // ---- views

  std::vector<LoadedModelView> loaded() const;
  // All requests: by model, first those that run, then those that wait, in the order in which they will be served.
  std::vector<RequestStatus> requests() const;
  // 1 for the request that is next of those that wait for its model; 0 if it does not wait.
  std::size_t position(RequestId request) const;
  std::size_t waiting() const;
  std::size_t in_flight() const;
  // Empty: a request would be taken in now, and every pinned model has been loaded.
  std::string why_not_ready() const;
  const Metrics& metrics() const;
  // Of the last ten minutes.
  const History& history() const;
  // Which setting would help those that wait; nullopt: none, or nobody waits.
  const std::optional<Advice>& advice() const;
  // The bound over all runners' memory, as it was last set; 0: none.
  std::uint64_t memory_bytes_max() const { return memory_.bytes_max(); }
  // Seconds after which a refused client may try again.
  static std::string retry_after_seconds(std::optional<Duration> wait);

 private:
  ServedModel& model_for(const ModelTarget& target);
  void update_memory_bound(TimePoint now);
  void tell(const Event& event);
  // `client` and `model`: as people know them, of an Admit.
  std::vector<Action> decide(const Event& event, TimePoint now, std::string_view client = {},
                             std::string_view model = {});
  void carry_out(std::vector<Action> actions);
  void perform(const StartRunner& action);
  void perform(const StopRunner& action);
  void perform(const Dispatch& action);
  void perform(const CancelOnRunner& action);
  void perform(const Complete& action);
  void perform(const Fail& action);
  void perform(const Refuse&) {}  // submit() looks for it
  void perform(const Explanation& why);
  void share_processors();
  void arm_alarm();
  void tick();
  void on_gone(RunnerId id, const RunnerEnd& end);
  void observe();
  std::uint64_t memory_for_more(const LoadedModelView& view) const;
  std::vector<RequestStatus> requests_of(const ModelView& view, std::span<const RequestView> requests,
                                         TimePoint now) const;

  boost::asio::io_context& io_;
  const Settings settings_;
  const std::string executable_;
  const std::unique_ptr<Dispatcher> dispatcher_;
  const std::unique_ptr<EventRecorder> recorder_;  // nullptr: nothing is recorded
  ModelTable models_;
  const std::unique_ptr<RequestTable> requests_;
  std::unordered_map<RunnerId, std::unique_ptr<Runner>> runners_;
  MemoryProbe memory_;
  std::uint64_t last_request_ = 0;
  std::deque<Action> to_do_;
  bool acting_ = false;
  const std::unique_ptr<Alarm> due_;  // when the policy has something to do
  TimePoint due_at_;
  const std::unique_ptr<Observer> observer_;
  const std::unique_ptr<Alarm> observe_next_;
  std::function<void()> on_shut_down_;
  bool shutting_down_ = false;
  const std::unique_ptr<Pins> pins_;
};

}  // namespace drover
