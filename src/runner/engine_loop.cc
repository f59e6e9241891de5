#include "runner/engine_loop.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <unordered_set>

#include "base/check.h"
#include "base/work_page.h"

namespace drover {
namespace {

// Steps in a row that found no room or were aborted. The scheduler makes more room each time, down to a single row.
// After this many the engine cannot compute the step at all.
constexpr int kAbandonedMax = 64;

SchedulerConfig scheduler_config(const LlamaEngine& engine, const EngineLoopOptions& options) {
  SchedulerConfig config;
  config.engine = engine.limits();
  config.slots = options.slots;
  config.slots_max = options.slots_max;
  if (options.itl_target > Duration::zero()) {
    config.gap_target = options.itl_target;
    config.gap_target_adapts = false;
  }
  return config;
}

// The request that the step is for; none if there are several.
RequestId only_request_of(const Step& step) {
  RequestId only;
  for (const auto* requests : {&step.output_of, &step.prompts_of}) {
    for (const RequestId request : *requests) {
      if (only != RequestId{} && request != only) return {};
      only = request;
    }
  }
  return only;
}

std::uint64_t nanoseconds(Duration duration) {
  const auto count = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  return count > 0 ? static_cast<std::uint64_t>(count) : 0;
}

}  // namespace

EngineLoop::EngineLoop(const LlamaModel& model, LlamaEngine& engine, const EngineLoopOptions& options,
                       Mailbox<EngineMail>& mail, Mailbox<OutputMail>& output)
    : model_(model), engine_(engine), scheduler_(scheduler_config(engine, options)), mail_(mail), output_(output) {}

void EngineLoop::calibrate() {
  const EngineLimits limits = engine_.limits();
  while (const int count = scheduler_.calibration_rows()) {
    if (count > std::min(limits.cells, limits.step_tokens_max)) return;
    std::vector<Row> rows;
    rows.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) rows.push_back({.token = 0, .position = i, .seq = 0, .output = i + 1 == count});
    const TimePoint start = Clock::now();
    const DecodeStatus status = engine_.decode(rows);
    const Duration took = Clock::now() - start;
    const MemoryOperation forget = {.kind = MemoryOperation::Kind::kRemove};
    engine_.apply(std::span(&forget, 1));
    // The first request will fail in the same way and report why.
    if (status != DecodeStatus::kDone) return;
    scheduler_.observe_calibration(count, took);
  }
}

void EngineLoop::run() {
  while (open_) {
    receive(jobs_.empty());
    publish_view();
    if (jobs_.empty()) continue;
    step();
    publish_view();
  }
}

void EngineLoop::cancel(RequestId request) {
  mail_.post(Canceled{request});
  const MutexLock lock(abort_mutex_);
  if (std::find(abort_for_.begin(), abort_for_.end(), request) != abort_for_.end()) engine_.request_abort();
}

void EngineLoop::receive(bool wait) {
  open_ = mail_.drain(received_, wait);
  for (EngineMail& item : received_) {
    if (auto* announced = std::get_if<Announced>(&item)) {
      announced_.emplace(announced->request, false);
    } else if (auto* prepared = std::get_if<Prepared>(&item)) {
      on_prepared(*prepared);
    } else if (auto* refused = std::get_if<Refused>(&item)) {
      announced_.erase(refused->request);
    } else if (auto* canceled = std::get_if<Canceled>(&item)) {
      on_canceled(canceled->request);
    } else {
      on_stop(std::get<StopFound>(item).request);
    }
  }
}

void EngineLoop::on_prepared(Prepared& prepared) {
  const RequestId request = prepared.engine->request;
  const TimePoint now = Clock::now();
  const auto announced = announced_.find(request);
  const bool canceled = announced != announced_.end() && announced->second;
  if (announced != announced_.end()) announced_.erase(announced);
  output_.post(OutputBegin{std::move(prepared.output)});
  EngineJob& job = *jobs_.emplace(request, std::move(prepared.engine)).first->second;
  job.added = now;
  if (canceled) return end(request, pb::Finished::CANCELED, now);
  if (job.output_max == 0) return end(request, pb::Finished::LENGTH, now);
  scheduler_.add(request, std::move(job.prompt));
}

void EngineLoop::on_canceled(RequestId request) {
  if (const auto announced = announced_.find(request); announced != announced_.end()) {
    announced->second = true;
  } else if (jobs_.count(request) > 0) {
    end(request, pb::Finished::CANCELED, Clock::now());
  }
}

void EngineLoop::on_stop(RequestId request) {
  if (jobs_.count(request) > 0) end(request, pb::Finished::STOP, Clock::now());
}

void EngineLoop::step() {
  const TimePoint start = Clock::now();
  const Step& step = scheduler_.plan();
  DROVER_CHECK(!step.rows.empty());  // there are sequences, so there are rows
  const bool applied = engine_.apply(step.operations);
  publish_abort_for(step.abort_for);
  const DecodeStatus status = [&] {
    const AtWork at_work(only_request_of(step));
    return applied ? engine_.decode(step.rows) : DecodeStatus::kLost;
  }();
  publish_abort_for({});
  const TimePoint now = Clock::now();
  if (status == DecodeStatus::kDone) {
    sample(step, now);
    scheduler_.commit(sampled_, Clock::now() - start);
    for (const auto& [request, reason] : ended_) end(request, reason, now);
    for (const auto& [request, why] : broken_) fail(request, why);
    shift_full_contexts();
  } else if (status == DecodeStatus::kFailed || ++abandoned_ > kAbandonedMax) {
    fail_step(step);
  } else {
    scheduler_.abandon(status);
    return;
  }
  abandoned_ = 0;
}

void EngineLoop::sample(const Step& step, TimePoint now) {
  // The pointers are fetched by this thread: llama.cpp may reorder its outputs when it is asked for them.
  tasks_.clear();
  std::size_t next = 0;
  for (std::size_t row = 0; row < step.rows.size(); ++row) {
    if (!step.rows[row].output) continue;
    const RequestId request = step.output_of[next++];
    tasks_.push_back({.request = request,
                      .sampler = jobs_.at(request)->sampler.get(),
                      .logits = engine_.logits(static_cast<int>(row)),
                      .token = 0,
                      .error = {}});
  }
  crew_.sample(tasks_, engine_.threads());

  sampled_.clear();
  ended_.clear();
  broken_.clear();
  full_.clear();
  OutputStep output;
  for (std::size_t i = 0; i < tasks_.size(); ++i) take_sampled(step.output_of[i], tasks_[i], now, output);
  if (!output.tokens.empty()) output_.post(std::move(output));
}

// Decides whether a sequence continues after its new token, or ends, and why.
void EngineLoop::take_sampled(RequestId request, const SampleTask& task, TimePoint now, OutputStep& output) {
  EngineJob& job = *jobs_.at(request);
  if (task.error) {
    broken_.emplace_back(request, *task.error);
    sampled_.push_back({request, 0, true});
    return;
  }
  if (job.output == 0) job.first_token = now;
  if (model_.ends_generation(task.token)) {
    ended_.emplace_back(request, pb::Finished::STOP);
    sampled_.push_back({request, task.token, true});
    return;
  }
  ++job.output;
  OutputToken& out = output.tokens.emplace_back(OutputToken{request, task.token, {}});
  if (job.top_logprobs >= 0) {
    out.probabilities = Sampler::likeliest(task.logits, model_.vocabulary_size(), task.token, job.top_logprobs);
  }
  const bool full = static_cast<int>(scheduler_.tokens(request).size()) + 1 >= job.context_max;
  const bool late = job.time_max > Duration::zero() && now - job.added >= job.time_max;
  const bool done = job.output >= job.output_max || (full && !job.shift) || late;
  if (done) {
    ended_.emplace_back(request, pb::Finished::LENGTH);
  } else if (full) {
    full_.push_back(request);
  }
  sampled_.push_back({request, task.token, done});
}

// A full context loses the older half of the tokens after `keep`, as in Ollama. Shared cells cannot be moved, so the
// other half is computed again at its new positions.
void EngineLoop::shift_full_contexts() {
  for (const RequestId request : full_) {
    const EngineJob& job = *jobs_.at(request);
    const std::span<const Token> tokens = scheduler_.tokens(request);
    const std::size_t keep = std::min<std::size_t>(static_cast<std::size_t>(job.keep), tokens.size() / 2);
    const std::size_t dropped = std::max<std::size_t>((tokens.size() - keep) / 2, 1);
    std::vector<Token> rest(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(keep));
    rest.insert(rest.end(), tokens.begin() + static_cast<std::ptrdiff_t>(keep + dropped), tokens.end());
    scheduler_.replace(request, std::move(rest));
  }
}

void EngineLoop::end(RequestId request, pb::Finished::Reason reason, TimePoint now) {
  const auto found = jobs_.find(request);
  const EngineJob& job = *found->second;
  OutputEnd out;
  out.finished.set_request(request.value);
  out.finished.set_reason(reason);
  out.finished.set_output_tokens(static_cast<std::uint32_t>(job.output));
  const SequenceStats stats = scheduler_.stats(request);
  out.finished.set_prompt_tokens(static_cast<std::uint32_t>(stats.prompt_tokens));
  out.finished.set_cached_tokens(static_cast<std::uint32_t>(stats.cached_tokens));
  const bool started = job.first_token != TimePoint{};
  out.finished.set_prompt_ns(nanoseconds((started ? job.first_token : now) - job.added));
  out.finished.set_output_ns(started ? nanoseconds(now - job.first_token) : 0);
  out.finished.set_preempted(static_cast<std::uint32_t>(stats.preempted));
  scheduler_.remove(request);
  jobs_.erase(found);
  output_.post(std::move(out));
}

void EngineLoop::fail(RequestId request, Error why) {
  OutputEnd out;
  out.finished.set_request(request.value);
  out.failure = std::move(why);
  scheduler_.remove(request);
  jobs_.erase(request);
  output_.post(std::move(out));
}

// The back end cannot compute the step, and no single request is known to be the cause: all requests in it fail.
void EngineLoop::fail_step(const Step& step) {
  std::unordered_set<RequestId> in_step(step.output_of.begin(), step.output_of.end());
  in_step.insert(step.prompts_of.begin(), step.prompts_of.end());
  scheduler_.abandon(DecodeStatus::kFailed);
  for (const RequestId request : in_step) fail(request, internal("an error was encountered while running the model"));
}

void EngineLoop::publish_abort_for(std::span<const RequestId> requests) {
  const MutexLock lock(abort_mutex_);
  abort_for_.assign(requests.begin(), requests.end());
  engine_.clear_abort();
}

void EngineLoop::publish_view() {
  const SchedulerView view = scheduler_.view();
  running_.store(static_cast<std::uint32_t>(jobs_.size()), std::memory_order_relaxed);
  cells_used_.store(static_cast<std::uint32_t>(view.cells_used), std::memory_order_relaxed);
  cells_kept_.store(static_cast<std::uint32_t>(view.cells_kept), std::memory_order_relaxed);
  cells_shared_.store(static_cast<std::uint32_t>(view.cells_shared), std::memory_order_relaxed);
  preempted_.store(static_cast<std::uint32_t>(view.preempted), std::memory_order_relaxed);
  slots_now_.store(static_cast<std::uint32_t>(view.slots), std::memory_order_relaxed);
}

pb::Health EngineLoop::health() const {
  pb::Health health;
  health.set_progress(engine_.progress());
  health.set_running(running_.load(std::memory_order_relaxed));
  health.set_kv_cells_used(cells_used_.load(std::memory_order_relaxed));
  health.set_kv_cells_kept(cells_kept_.load(std::memory_order_relaxed));
  health.set_kv_cells_shared(cells_shared_.load(std::memory_order_relaxed));
  health.set_preempted(preempted_.load(std::memory_order_relaxed));
  health.set_slots(slots_now_.load(std::memory_order_relaxed));
  return health;
}

}  // namespace drover
