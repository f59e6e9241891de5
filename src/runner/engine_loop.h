// The engine thread: drains its mailbox, asks the batch scheduler for a step, computes it, samples, and posts the
// tokens to the output worker. The scheduler makes all decisions about a step; the output worker makes all text.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/mailbox.h"
#include "base/mutex.h"
#include "engine/llama_engine.h"
#include "engine/llama_model.h"
#include "engine/sample_crew.h"
#include "runner/batch_scheduler.h"
#include "runner/job.h"

namespace drover {

struct EngineLoopOptions {
  int slots = 1;             // at first
  int slots_max = 1;         // more than `slots`: their number follows what is measured
  Duration itl_target = {};  // target inter-token time of a stream; zero: adapts
};

class EngineLoop {
 public:
  // options.slots_max sequences fit into the engine.
  EngineLoop(const LlamaModel& model, LlamaEngine& engine, const EngineLoopOptions& options, Mailbox<EngineMail>& mail,
             Mailbox<OutputMail>& output);

  // Computes steps of a few sizes and drops their cells. The first request then finds a warm engine and a scheduler
  // that knows how long steps take. Called before run(), by the same thread.
  void calibrate();

  // Returns when the mailbox is closed.
  void run();

  // Posts Canceled, and aborts the running step if the scheduler said that this pays (Step::abort_for). Any thread.
  void cancel(RequestId request);

  // Progress and load; `running` is 0 while there is no request. Any thread.
  pb::Health health() const;

 private:
  void receive(bool wait);
  void on_prepared(Prepared& prepared);
  void on_canceled(RequestId request);
  void on_stop(RequestId request);
  void step();
  void sample(const Step& step, TimePoint now);
  void take_sampled(RequestId request, const SampleTask& task, TimePoint now, OutputStep& output);
  void shift_full_contexts();
  void end(RequestId request, pb::Finished::Reason reason, TimePoint now);
  void fail(RequestId request, Error why);
  void fail_step(const Step& step);
  void publish_abort_for(std::span<const RequestId> requests);
  void publish_view();

  const LlamaModel& model_;
  LlamaEngine& engine_;
  BatchScheduler scheduler_;
  Mailbox<EngineMail>& mail_;
  Mailbox<OutputMail>& output_;
  std::vector<EngineMail> received_;
  std::unordered_map<RequestId, std::unique_ptr<EngineJob>> jobs_;
  std::unordered_map<RequestId, bool> announced_;  // not prepared yet; true: canceled meanwhile
  SampleCrew crew_;
  std::vector<SampleTask> tasks_;
  std::vector<Sampled> sampled_;
  std::vector<std::pair<RequestId, pb::Finished::Reason>> ended_;
  std::vector<std::pair<RequestId, Error>> broken_;
  std::vector<RequestId> full_;  // sequences whose context is full
  int abandoned_ = 0;            // abandoned steps in a row
  bool open_ = true;

  // For health(), published once per step.
  std::atomic<std::uint32_t> running_{0};
  std::atomic<std::uint32_t> cells_used_{0};
  std::atomic<std::uint32_t> cells_kept_{0};
  std::atomic<std::uint32_t> cells_shared_{0};
  std::atomic<std::uint32_t> preempted_{0};
  std::atomic<std::uint32_t> slots_now_{1};

  // Held while an abort is requested or withdrawn, so that a late cancel never aborts the next step.
  Mutex abort_mutex_;
  std::vector<RequestId> abort_for_ GUARDED_BY(abort_mutex_);  // of the running step
};

}  // namespace drover
