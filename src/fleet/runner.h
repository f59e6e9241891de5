// A runner as the fleet sees it: what it is told becomes frames, and its frames become events for the policy and for
// requests. I/O thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/settings.h"
#include "fleet/metrics.h"
#include "fleet/model_table.h"
#include "fleet/request_table.h"
#include "fleet/views.h"
#include "policy/events.h"

namespace drover {

class RunnerProcess;
struct RunnerEnd;

class Runner {
 public:
  // Whom it tells.
  struct Listeners {
    RequestTable& requests;
    std::function<void(const Event&)> tell;  // what the policy has to know
    // Its process has ended; the last call of all. The runner may be destroyed in it.
    std::function<void(RunnerId, const RunnerEnd&)> gone;
  };

  // Starts a process and has it load the model's latest target, for a context of so many tokens; 0: the default.
  static Result<std::unique_ptr<Runner>> start(boost::asio::io_context& io, const std::string& executable,
                                               const Settings& settings, RunnerId id, ServedModel& model,
                                               int context_length, ModelMetrics& metrics, Listeners listeners);
  ~Runner();

  void send(const pb::ToRunner& frame);
  void cancel(RequestId request);
  // How many runners compute, this one among them.
  void share(int runners);
  // Ends it; nothing that it still says counts.
  void stop(StopReason reason);
  void kill();
  // Tells the policy whose fault it is if this runner is found to hang at `now`, if it is somebody else's than before.
  void tell_blame(TimePoint now);

  const std::string& name() const { return name_; }
  RequestTable::Load load() const { return {started_, loaded_}; }
  TimePoint started() const { return started_; }
  // Memory of the process that is in RAM now, in bytes.
  std::uint64_t resident_bytes() const;
  void describe(LoadedModelView& view) const;
  // Notes its end, and says so if it has ended of its own accord. `work`: for a person, what it was at; may be empty.
  void note_end(const RunnerEnd& end, const std::string& work);

 private:
  Runner(const Settings& settings, RunnerId id, ServedModel& model, ModelMetrics& metrics, Listeners listeners);
  void send_load(int context_length);
  bool serves() const { return loaded_ != TimePoint{} && !stopping_; }
  void on_message(pb::FromRunner& message);
  void on_loaded(const pb::Loaded& loaded, TimePoint now);
  void on_chunks(pb::Chunks& chunks, TimePoint now);
  void on_finished(pb::Finished& finished);
  void on_embedded(pb::Embedded& embedded);
  void on_failed(const pb::Failed& failed);
  void on_health(const pb::Health& health);

  const Settings& settings_;
  const RunnerId id_;
  ServedModel& model_;
  ModelMetrics& metrics_;
  const Listeners listeners_;
  std::shared_ptr<RunnerProcess> process_;
  const std::string name_;
  const std::string manifest_digest_;
  const TimePoint started_;
  TimePoint loaded_{};        // zero: not yet
  bool stopping_ = false;     // nothing that it still says counts
  bool load_failed_ = false;  // it has said so, and ends
  std::uint64_t memory_bytes_ = 0;
  std::uint64_t device_bytes_ = 0;
  std::string notice_;  // see LoadedModelView
  KvView kv_;
  std::uint32_t preempted_ = 0;
  std::uint64_t progress_ = 0;  // as its health told last
  int slots_ = 0;               // as the policy was told last
  int sharers_ = 1;             // how many compute, as it was told last
  Blame blame_;                 // as the policy was told last
};

}  // namespace drover
