// The engine thread: drains its mailbox, asks the batch scheduler for a step, computes it, samples, and hands the
// tokens on. All decisions about a step are the scheduler's; all text is the output worker's.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/mailbox.h"
#include "engine/llama_engine.h"
#include "engine/llama_model.h"
#include "engine/sample_crew.h"
#include "runner/batch_scheduler.h"
#include "runner/job.h"
#include "runner/place_count.h"

namespace drover {

struct EngineLoopOptions {
  int places = 1;            // to begin with
  int places_max = 1;        // more than `places`: their number follows what is measured
  Duration itl_target = {};  // aim for the time between two tokens of a stream; zero: adapts
};

class EngineLoop {
 public:
  // options.places_max sequences fit into the engine.
  EngineLoop(const LlamaModel& model, LlamaEngine& engine, const EngineLoopOptions& options, Mailbox<EngineMail>& mail,
             Mailbox<OutputMail>& output);

  // Computes steps of a few sizes and forgets them, so that the first request meets a warm engine and a scheduler that
  // knows what a step takes. Before run(), by the same thread.
  void calibrate();

  // Until the mailbox is closed.
  void run();

  // Posts Canceled, and stops the step that is running if it computes this request's prompt and others wait for its
  // end. Any thread.
  void cancel(RequestId request);

  // How it goes; `running` is 0 while there is nothing to do. Any thread.
  pb::Health health() const;

 private:
  void receive(bool wait);
  void on_prepared(Prepared& prepared);
  void on_canceled(RequestId request);
  void on_stop(RequestId request);
  void step();
  void sample(const Step& step, TimePoint now);
  void take_sampled(RequestId request, const SampleTask& task, TimePoint now, OutputStep& output);
  void shift_full_contexts(TimePoint now);
  void end(RequestId request, pb::Finished::Reason reason, TimePoint now);
  void fail(RequestId request, Error why, TimePoint now);
  void fail_step(const Step& step, TimePoint now);
  void publish_prompts(const Step& step);
  void count_places(const Step& step, Duration took);
  void publish_view();

  const LlamaModel& model_;
  LlamaEngine& engine_;
  BatchScheduler scheduler_;
  PlaceCount places_;
  Mailbox<EngineMail>& mail_;
  Mailbox<OutputMail>& output_;
  std::vector<EngineMail> received_;
  std::unordered_map<RequestId, std::unique_ptr<EngineJob>> jobs_;
  std::unordered_map<RequestId, bool> announced_;  // read but not prepared yet; true: canceled meanwhile
  SampleCrew crew_;
  std::vector<SampleTask> tasks_;
  std::vector<Sampled> sampled_;
  std::vector<std::pair<RequestId, pb::Finished::Reason>> ended_;
  std::vector<std::pair<RequestId, Error>> broken_;
  std::vector<RequestId> full_;  // sequences whose context is full
  int abandoned_ = 0;            // steps in a row
  bool open_ = true;

  // What health() tells, published once per step.
  std::atomic<std::uint32_t> running_{0};
  std::atomic<std::uint32_t> cells_used_{0};
  std::atomic<std::uint32_t> cells_kept_{0};
  std::atomic<std::uint32_t> cells_shared_{0};
  std::atomic<std::uint32_t> parked_{0};
  std::atomic<std::uint32_t> places_now_{1};

  std::mutex prompts_mutex_;
  std::unordered_set<RequestId> prompts_in_step_;  // guarded by prompts_mutex_: whose prompts the running step computes
};

}  // namespace drover
