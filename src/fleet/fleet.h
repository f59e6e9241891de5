// The dispatcher's hands: carries out what the policy decides. Starts runners and talks to them, keeps the time, and
// hands each request's events to whoever waits for them. I/O thread only.
#pragma once

#include <spdlog/logger.h>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/machine.h"
#include "base/settings.h"
#include "fleet/history.h"
#include "fleet/metrics.h"
#include "fleet/request_record.h"
#include "fleet/runner_process.h"
#include "policy/advice.h"
#include "policy/dispatcher.h"
#include "runner.pb.h"

namespace drover {

// What a runner has to load. Two targets with the same key are served by one runner.
struct ModelTarget {
  std::string key;              // of weights and adapters, e.g. their digests
  std::string name;             // for people: the name that the request used
  std::string manifest_digest;  // of the model with that name
  std::string model_path;
  std::vector<std::string> shard_paths;  // the other files of a model that is split
  std::vector<std::string> adapter_paths;
  std::string family_template;  // of the engine's, for a model whose file has none; part of the key
  int trained_context = 0;      // tokens; 0: unknown
  std::function<std::uint64_t(int context_length)> estimate;  // memory in bytes for a context of so many tokens
  // Wishes for the load; they are heeded when this request is the one that loads the model.
  int context_length = 0;  // 0: the server's default
  int batch = 0;
  int threads = 0;
  int gpu_layers = -1;
  int main_gpu = 0;
  bool use_mmap = true;
  bool embedding = false;  // for vectors instead of text: a runner of its own kind, and part of the key
};

struct Submission {
  RequestIdentity identity;
  ModelTarget target;
  std::string client;
  Priority priority = Priority::kNormal;
  std::optional<Duration> timeout;
  std::optional<Duration> keep_alive;  // unset: the server's default
  bool load_only = false;
  bool streams = true;  // false: the answer is wanted whole, so that it can be begun again until it is complete
  // What the runner is sent, the request number filled in: `embed` if the target is for embedding, else `work`.
  pb::Generate work;
  pb::Embed embed;
};

// ---- what happens to a request: Dispatched, Started, Chunks…, then one of Finished, Embedded, Loaded, Failed

struct EventDispatched {
  Duration waited;
  Duration queued;  // the part of it that was no load
};
struct EventLoaded {};
struct EventFailed {
  Error error;
  std::optional<Duration> retry_after;
};
using RequestEvent =
    std::variant<EventDispatched, EventLoaded, EventFailed, pb::Started, pb::Chunk, pb::Finished, pb::Embedded>;

// Tokens that a request may hold where neither it nor its model says how many.
int context_default(const Settings& settings);

class DispatchDriver;

// A request that was admitted. Destroying it cancels the request if it has not ended.
class Ticket {
 public:
  ~Ticket();
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  // The next event. While nothing has happened it suspends; after cancel() it returns EventFailed kCanceled.
  boost::asio::awaitable<RequestEvent> next();
  // Waits for the next event, but not beyond `deadline`. True: next() returns at once.
  boost::asio::awaitable<bool> wait(TimePoint deadline);
  // Whether next() would return at once.
  bool ready() const { return !events_.empty(); }
  // The client is gone. Wakes next().
  void cancel();
  RequestId request() const { return request_; }

 private:
  friend class DispatchDriver;
  Ticket(DispatchDriver& driver, boost::asio::io_context& io, RequestId request);
  // The driver ends one whose client lets too much of its answer wait: see unread_bytes_.
  void deliver(RequestEvent event);
  // It has ended with the model in memory.
  bool has_loaded() const;

  DispatchDriver& driver_;
  RequestId request_;
  std::deque<RequestEvent> events_;
  std::size_t unread_bytes_ = 0;    // of the chunks in events_
  boost::asio::steady_timer wake_;  // expires only for wait(); cancelled to wake both
  bool ended_ = false;
};

// What a runner's KV cache holds, in cells, as it last told.
struct KvView {
  std::uint32_t cells = 0;   // there are so many
  std::uint32_t used = 0;    // by running sequences
  std::uint32_t shared = 0;  // of those: by more than one
  std::uint32_t kept = 0;    // by none that runs, for requests to come
};

// A runner and its model, as /api/ps shows it.
struct LoadedModelView {
  ModelView state;
  std::string key;         // ModelTarget::key
  bool embedding = false;  // ModelTarget::embedding
  std::string name;
  std::string manifest_digest;
  std::uint64_t memory_bytes = 0;
  std::uint64_t device_bytes = 0;
  KvView kv;
  std::uint32_t parked = 0;  // sequences that are parked now
  std::string notice;        // what the runner wants known: why its places are fewer than asked for
};

// A request that has not ended, as /api/queue shows it.
struct RequestStatus {
  enum class Phase { kQueued, kLoading, kPrefill, kGenerating, kCanceling };
  Phase phase = Phase::kQueued;
  std::size_t position = 0;  // 1 is next; 0: it does not wait
  Duration age{};
  std::optional<Duration> wait;   // what is left of it, as estimated; unset: it does not wait, or nothing is known
  const RequestRecord* record{};  // valid until the I/O thread does something else
};

class DispatchDriver {
 public:
  // `executable` is started as the runner. What the system has to give bounds all runners together.
  DispatchDriver(boost::asio::io_context& io, const Settings& settings, std::string executable);
  ~DispatchDriver();

  // Error: what Dispatcher::admit refuses with.
  Result<std::unique_ptr<Ticket>> submit(Submission submission);
  // When a request for this model that was refused may try again.
  Duration retry_after(const std::string& key) const;
  // Unloads a model when its requests are done. False: it is not in memory.
  bool unload(const std::string& key);
  // Refuses new requests and lets running ones finish; `done` is called once no request and no runner is left.
  void shutdown(std::function<void()> done);
  // Ends what still runs, with an error for its clients.
  void end_now();

  std::vector<LoadedModelView> loaded() const;
  // All requests: by model, first those that run, then those that wait, in the order in which they will be served.
  std::vector<RequestStatus> requests() const;
  // 1 for the request that is next of those that wait for its model; 0 if it does not wait.
  std::size_t position(RequestId request) const { return dispatcher_.position(request); }
  // Ends the requests that carry this identity, with kCanceled for their clients. How many there were.
  std::size_t cancel(std::string_view identity);
  // A request that never came to be submitted: for the log and the metrics.
  void note_refused(RequestIdentity identity, const Error& error);
  const Metrics& metrics() const { return metrics_; }
  // Of the last ten minutes.
  const History& history() const { return history_; }
  // Which setting would help those that wait; nullopt: none, or nobody waits.
  const std::optional<Advice>& advice() const { return advisor_.shown(); }
  // The bound over all runners' memory, as it was last set; 0: none.
  std::uint64_t memory_bytes_max() const { return memory_bytes_max_; }
  std::size_t waiting() const { return dispatcher_.waiting(); }
  // Empty: a request would be taken in now, and every pinned model has been loaded.
  std::string why_not_ready() const;
  // Loads a model as soon as that is possible, loads it again when its runner dies, and unloads it only if asked to.
  void pin(const ModelTarget& target);
  std::size_t in_flight() const { return entries_.size(); }
  // Seconds after which a refused client may try again.
  static std::string retry_after_seconds(std::optional<Duration> wait);

 private:
  friend class Ticket;
  struct Entry;
  struct Runner;
  struct Model;
  // A pinned model. Once it is loaded, the dispatcher keeps it so.
  struct Pin {
    std::unique_ptr<Ticket> ticket;  // while it loads
    bool loaded = false;
    std::string refusal;  // the last one that was logged
  };

  Model& model_for(const ModelTarget& target);
  void act();
  void perform(const StartRunner& action);
  void perform(const StopRunner& action);
  void perform(const Dispatch& action);
  void perform(const CancelOnRunner& action);
  void perform(const Complete& action);
  void perform(Fail action);
  void on_message(RunnerId id, pb::FromRunner& message);
  void on_gone(RunnerId id, const RunnerEnd& end);
  void tick();
  void on_failed(Runner& runner, const pb::Failed& failed);
  void deliver(RequestId request, RequestEvent event);
  void on_chunk(pb::Chunk chunk, TimePoint now);
  void end(RequestId request, RequestEvent event);
  // Ends a request whose answer would take more memory than it may. What was delivered stays, and `error` follows it.
  void give_up(RequestId request, Error error);
  void note_end(Entry& entry, const RequestEvent& event, TimePoint now);
  void note_end(RequestRecord& record, Outcome outcome, std::string error, TimePoint now);
  void log_explanations();
  std::vector<RequestStatus> requests_of(const ModelView& view, std::span<const RequestView> requests,
                                         TimePoint now) const;
  void cancel(RequestId request);
  void share_processors();
  void arm_timer();
  void release_requests_of(RunnerId id);
  void update_memory_bound(TimePoint now);
  void load_pins();
  void observe();
  void advise_on(std::span<const LoadedModelView> views);
  std::uint64_t memory_for_more(const LoadedModelView& view) const;

  boost::asio::io_context& io_;
  const Settings settings_;
  const std::string executable_;
  Dispatcher dispatcher_;
  boost::asio::steady_timer timer_;
  TimePoint timer_due_ = kNever;
  std::unordered_map<RequestId, std::unique_ptr<Entry>> entries_;
  std::unordered_map<RunnerId, std::unique_ptr<Runner>> runners_;
  std::unordered_map<std::string, std::unique_ptr<Model>> models_;  // by key
  std::unordered_map<std::uint32_t, Model*> models_by_id_;
  Metrics metrics_;
  const std::shared_ptr<spdlog::logger> request_log_;
  std::uint64_t memory_bytes_max_ = 0;
  std::uint64_t last_request_ = 0;
  TimePoint memory_read_{};
  std::map<std::string, Pin> pins_;  // by key
  boost::asio::steady_timer pin_timer_;
  History history_;
  Advisor advisor_;
  std::optional<ProcessorTimes> processors_;  // as they were at the last look
  boost::asio::steady_timer observe_timer_;
  std::function<void()> on_shut_down_;
  bool acting_ = false;
  bool shutting_down_ = false;
};

}  // namespace drover
