#include "fleet/runner.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "base/failed.h"
#include "fleet/runner_process.h"
#include "fleet/server_log.h"

namespace drover {
namespace {

const char* reason_text(StopReason reason) {
  switch (reason) {
    case StopReason::kIdle:
      return "idle for its keep-alive time";
    case StopReason::kEvicted:
      return "another model needs its memory";
    case StopReason::kAskedFor:
      return "requested";
    case StopReason::kHung:
      return "a step made no progress in time";
    case StopReason::kLoadStalled:
      return "the load makes no progress";
    case StopReason::kAbandoned:
      return "no request waits for it";
    case StopReason::kGrown:
      return "a request needs a larger context";
    case StopReason::kShutdown:
      return "shutdown";
  }
  return "";
}

}  // namespace

// ---- its beginning

Runner::Runner(const Settings& settings, RunnerId id, ServedModel& model, ModelMetrics& metrics, Listeners listeners)
    : settings_(settings),
      id_(id),
      model_(model),
      metrics_(metrics),
      listeners_(std::move(listeners)),
      name_(model.target.name),
      manifest_digest_(model.target.manifest_digest),
      started_(Clock::now()) {}

Runner::~Runner() = default;

Result<std::unique_ptr<Runner>> Runner::start(boost::asio::io_context& io, const std::string& executable,
                                              const Settings& settings, RunnerId id, ServedModel& model,
                                              int context_length, ModelMetrics& metrics, Listeners listeners) {
  const auto gone = listeners.gone;
  std::unique_ptr<Runner> runner(new Runner(settings, id, model, metrics, std::move(listeners)));
  auto process =
      RunnerProcess::start(io, executable,
                           {[runner = runner.get()](pb::FromRunner& message) { runner->on_message(message); },
                            [gone, id](const RunnerEnd& end) { gone(id, end); }, runner_log(runner->name_)});
  if (!process) {
    spdlog::error("{} cannot be loaded: {}", runner->name_, process.error().message);
    return std::move(process).error();
  }
  runner->process_ = std::move(*process);
  spdlog::info("loading {} in process {}{}", runner->name_, runner->process_->pid(),
               model.target.embedding ? " for embeddings" : "");
  if (std::exchange(model.failed, false)) ++metrics.restarts;
  runner->send_load(context_length);
  return runner;
}

void Runner::send_load(int context_length) {
  const ModelTarget& target = model_.target;
  pb::ToRunner frame;
  pb::Load& load = *frame.mutable_load();
  load.set_name(target.name);
  load.set_model_path(target.model_path);
  for (const std::string& path : target.shard_paths) load.add_shard_paths(path);
  for (const std::string& path : target.adapter_paths) load.add_adapter_paths(path);
  const int context = context_length > 0 ? context_length : context_default(settings_);
  load.set_family_template(target.family_template);
  load.set_context_length(static_cast<std::uint32_t>(context));
  load.set_slots(static_cast<std::uint32_t>(settings_.parallel));
  load.set_itl_target_ms(static_cast<std::uint32_t>(settings_.itl_target_ms));
  load.set_batch(static_cast<std::uint32_t>(std::max(target.batch, 0)));
  load.set_threads(static_cast<std::uint32_t>(std::max(target.threads, 0)));
  load.set_gpu_layers(target.gpu_layers);
  load.set_main_gpu(static_cast<std::uint32_t>(std::max(target.main_gpu, 0)));
  load.set_use_mmap(target.use_mmap);
  load.set_embedding(target.embedding);
  load.set_kv_cache_type(settings_.kv_cache_type);
  load.set_flash_attention(settings_.flash_attention ? (*settings_.flash_attention ? 1 : 0) : -1);
  send(frame);
}

// ---- what it is told

void Runner::send(const pb::ToRunner& frame) {
  process_->send(frame);
}

void Runner::cancel(RequestId request) {
  pb::ToRunner frame;
  frame.mutable_cancel()->set_request(request.value);
  send(frame);
}

void Runner::share(int runners) {
  if (sharers_ == runners || !serves()) return;
  sharers_ = runners;
  pb::ToRunner frame;
  frame.mutable_share()->set_runners(static_cast<std::uint32_t>(runners));
  send(frame);
}

void Runner::stop(StopReason reason) {
  spdlog::info("unloading {}: {}", name_, reason_text(reason));
  stopping_ = true;
  ++metrics_.unloads[static_cast<std::size_t>(reason)];
  const bool stuck = reason == StopReason::kHung || reason == StopReason::kLoadStalled;
  if (stuck) model_.failed = true;
  if (stuck || reason == StopReason::kAbandoned) {
    process_->kill();
  } else {
    process_->ask_to_end();
  }
}

void Runner::kill() {
  process_->kill();
}

// ---- what it tells

void Runner::on_message(pb::FromRunner& message) {
  if (stopping_) return;
  const TimePoint now = Clock::now();
  switch (message.kind_case()) {
    case pb::FromRunner::kLoadProgress:
      return listeners_.tell(event::LoadProgress{id_, message.load_progress().fraction()});
    case pb::FromRunner::kLoaded:
      return on_loaded(message.loaded(), now);
    case pb::FromRunner::kStarted:
      return listeners_.requests.start(std::move(*message.mutable_started()));
    case pb::FromRunner::kChunks:
      return on_chunks(*message.mutable_chunks(), now);
    case pb::FromRunner::kFinished:
      return on_finished(*message.mutable_finished());
    case pb::FromRunner::kEmbedded:
      return on_embedded(*message.mutable_embedded());
    case pb::FromRunner::kFailed:
      return on_failed(message.failed());
    case pb::FromRunner::kHealth:
      return on_health(message.health());
    default:
      spdlog::warn("unknown message from the runner of {}", name_);
  }
}

void Runner::on_loaded(const pb::Loaded& loaded, TimePoint now) {
  device_bytes_ = loaded.device_bytes();
  loaded_ = now;
  kv_.cells = loaded.kv_cells();
  slots_ = static_cast<int>(loaded.slots());
  model_.last_load = now - started_;
  metrics_.load.observe(model_.last_load);
  // What the engine counts leaves out the process around it; what is resident leaves out pages not touched yet.
  memory_bytes_ = std::max(loaded.memory_bytes(), process_->resident_bytes() + loaded.device_bytes());
  spdlog::info("loaded {}{}: context {}, {} slots, {} MiB", name_, model_.target.embedding ? " for embeddings" : "",
               loaded.context_length(), loaded.slots(), memory_bytes_ >> 20);
  notice_ = loaded.notice();
  if (!notice_.empty()) spdlog::warn("{}: {}", name_, notice_);
  listeners_.tell(event::Loaded{id_, slots_, static_cast<int>(loaded.context_length()), memory_bytes_});
}

void Runner::on_chunks(pb::Chunks& chunks, TimePoint now) {
  listeners_.tell(event::Progress{id_});
  for (pb::Chunk& chunk : *chunks.mutable_chunks()) {
    const RequestId request{chunk.request()};
    if (listeners_.requests.take(std::move(chunk), now)) listeners_.tell(event::OutputSent{request});
  }
}

// The end goes to its client first: the slot is then the next one's.
void Runner::on_finished(pb::Finished& finished) {
  const std::uint32_t cached = std::min(finished.cached_tokens(), finished.prompt_tokens());
  const event::Finished ended{RequestId{finished.request()}, finished.prompt_tokens() - cached,
                              finished.output_tokens()};
  listeners_.requests.finish(std::move(finished));
  listeners_.tell(ended);
}

void Runner::on_embedded(pb::Embedded& embedded) {
  const event::Finished ended{RequestId{embedded.request()}, embedded.prompt_tokens(), 0};
  listeners_.requests.finish(std::move(embedded));
  listeners_.tell(ended);
}

void Runner::on_failed(const pb::Failed& failed) {
  Error error = read_error(failed);
  if (error.code == ErrorCode::kNotFound) error.message = fmt::format("model '{}' not found", name_);
  if (failed.request() == 0) {
    spdlog::error("{} cannot be loaded: {}", name_, failed.message());
    ++metrics_.load_failures;
    load_failed_ = true;
    const bool memory_is_short = error.code == ErrorCode::kNoSpace;
    if (memory_is_short) error.code = ErrorCode::kInternal;
    return listeners_.tell(event::LoadFailed{id_, std::move(error), memory_is_short});
  }
  const RequestId request{failed.request()};
  listeners_.requests.fail(request, std::move(error), std::nullopt);
  listeners_.tell(event::Finished{request});
}

void Runner::on_health(const pb::Health& health) {
  kv_.used = health.kv_cells_used();
  kv_.shared = health.kv_cells_shared();
  kv_.kept = health.kv_cells_kept();
  preempted_ = health.preempted();
  if (std::exchange(progress_, health.progress()) != health.progress()) listeners_.tell(event::Progress{id_});
  const int slots = static_cast<int>(health.slots());
  if (slots <= 0 || slots == slots_ || !serves()) return;
  slots_ = slots;
  listeners_.tell(event::SlotsChanged{id_, slots});
}

// A thread that hangs has been at the same request for about as long as nothing was heard of its runner.
void Runner::tell_blame(TimePoint now) {
  if (!serves()) return;
  const Blame blame = {.request = process_->stuck_at(now - settings_.hang_timeout / 2),
                       .from_outside = process_->is_stopped()};
  if (blame == blame_) return;
  blame_ = blame;
  listeners_.tell(event::Blamed{id_, blame});
}

void Runner::note_end(const RunnerEnd& end, const std::string& work) {
  if (stopping_ || load_failed_) return;
  spdlog::error("the runner of {} ended unexpectedly: {}{}", name_, end.how,
                work.empty() ? "" : ", while working for " + work);
  ++metrics_.crashes;
  model_.failed = true;
}

// ---- views

std::uint64_t Runner::resident_bytes() const {
  return process_->resident_bytes();
}

void Runner::describe(LoadedModelView& view) const {
  view.name = name_;
  view.manifest_digest = manifest_digest_;
  view.memory_bytes = memory_bytes_;
  view.device_bytes = device_bytes_;
  view.kv = kv_;
  view.preempted = preempted_;
  view.notice = notice_;
}

}  // namespace drover
