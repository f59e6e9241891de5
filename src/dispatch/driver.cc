#include "dispatch/driver.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/check.h"
#include "base/system_memory.h"
#include "dispatch/driver_impl.h"
#include "dispatch/server_log.h"

namespace drover {
namespace {

namespace asio = boost::asio;

// Of the memory that is to be had, this much is left to the front and to everybody else.
constexpr double kMemoryShare = 0.9;
constexpr auto kMemoryReadInterval = std::chrono::seconds(1);
// Output that waits for a client which does not read: a million tokens of text, or some thousands with top_logprobs.
constexpr std::size_t kUnreadBytesMax = 4u << 20;
// An answer that is not streamed.
constexpr std::size_t kWholeBytesMax = 64u << 20;
constexpr auto kPinRetryInterval = std::chrono::seconds(1);

DispatcherConfig dispatcher_config(const Settings& settings) {
  DispatcherConfig config;
  config.waiting_max = settings.queue_max;
  config.loaded_models_max = loaded_models_max(settings);
  config.places = std::max(settings.parallel, 1);
  config.request_timeout = settings.request_timeout;
  config.load_timeout = settings.load_timeout;
  config.hang_timeout = settings.hang_timeout;
  config.explain = settings.debug;
  return config;
}

// The share of a client, by the name that lists show; that of a key is one of each of its users too.
double weight_of(const Settings& settings, const std::string& client) {
  const auto& weights = settings.client_weights;
  auto found = weights.find(client);
  if (found == weights.end() && client.starts_with("key:")) found = weights.find(client.substr(0, client.find('/')));
  return found == weights.end() ? 1 : found->second;
}

}  // namespace

int context_default(const Settings& settings) {
  constexpr int kTokens = 4096;
  return settings.context_length > 0 ? settings.context_length : kTokens;
}

namespace {

// What the operator allows one generation at most.
void limit_generation(pb::Generate& work, const Settings& settings) {
  if (const int most = settings.output_tokens_max; most > 0 && (work.predict_max() < 0 || work.predict_max() > most)) {
    work.set_predict_max(most);
  }
  using std::chrono::milliseconds;
  work.set_generation_ms_max(
      static_cast<std::uint64_t>(std::chrono::duration_cast<milliseconds>(settings.generation_max).count()));
}

const char* reason_text(StopReason reason) {
  switch (reason) {
    case StopReason::kIdle:
      return "idle for its keep-alive time";
    case StopReason::kEvicted:
      return "another model needs its memory";
    case StopReason::kAskedFor:
      return "asked for";
    case StopReason::kHung:
      return "no step finished in time";
    case StopReason::kLoadStalled:
      return "the load makes no progress";
    case StopReason::kAbandoned:
      return "nobody waits for it any more";
    case StopReason::kGrown:
      return "a request needs a larger context";
    case StopReason::kShutdown:
      return "shutdown";
  }
  return "";
}

}  // namespace

// ---- DispatchDriver

DispatchDriver::DispatchDriver(asio::io_context& io, const Settings& settings, std::string executable)
    : io_(io),
      settings_(settings),
      executable_(std::move(executable)),
      dispatcher_(dispatcher_config(settings)),
      timer_(io),
      request_log_(named_logger(kRequestLogger)),
      pin_timer_(io),
      observe_timer_(io) {
  observe();
}

DispatchDriver::~DispatchDriver() = default;

DispatchDriver::Model& DispatchDriver::model_for(const ModelTarget& target) {
  auto& model = models_[target.key];
  if (model == nullptr) {
    model = std::make_unique<Model>();
    model->id = ModelId{static_cast<std::uint32_t>(models_.size())};
    models_by_id_[model->id.value] = model.get();
  }
  model->target = target;
  return *model;
}

Result<std::unique_ptr<Ticket>> DispatchDriver::submit(Submission submission) {
  const TimePoint now = Clock::now();
  ModelTarget& target = submission.target;
  // A wish beyond what the model was trained for is no reason to load it anew.
  if (target.trained_context > 0) target.context_length = std::min(target.context_length, target.trained_context);
  const int wished = target.context_length > 0 ? target.context_length : context_default(settings_);
  const int context_loaded = target.trained_context > 0 ? std::min(wished, target.trained_context) : wished;
  Model& model = model_for(target);
  update_memory_bound(now);

  Arrival arrival;
  arrival.request = RequestId{++last_request_};
  arrival.model = model.id;
  arrival.client = submission.client;
  arrival.client_weight = weight_of(settings_, submission.identity.client);
  arrival.priority = submission.priority;
  arrival.needs.memory_bytes = target.estimate ? target.estimate(context_loaded) : 0;
  arrival.needs.context_length = target.context_length;
  arrival.timeout = submission.timeout;
  arrival.needs.pinned = pins_.count(target.key) > 0;
  // What is pinned stays, whatever a request says.
  arrival.keep_alive = arrival.needs.pinned ? Duration(-1) : submission.keep_alive.value_or(settings_.keep_alive);
  arrival.load_only = submission.load_only;
  auto entry = std::make_unique<Entry>();
  entry->model = &model;
  entry->metrics = &metrics_.of(target.name);
  RequestRecord& record = entry->record;
  record.identity = std::move(submission.identity);
  if (record.identity.id.empty()) record.identity.id = fmt::format("{:016x}", arrival.request.value);
  record.model = target.name;
  record.priority = submission.priority;
  record.arrived = now;
  auto admitted = dispatcher_.admit(arrival, now);
  if (!admitted) {
    note_end(*entry, EventFailed{admitted.error(), std::nullopt}, now);
    act();  // the memory bound may have changed
    return std::move(admitted).error();
  }

  if (target.embedding) {
    *entry->frame.mutable_embed() = std::move(submission.embed);
    entry->frame.mutable_embed()->set_request(arrival.request.value);
  } else {
    *entry->frame.mutable_generate() = std::move(submission.work);
    limit_generation(*entry->frame.mutable_generate(), settings_);
    entry->frame.mutable_generate()->set_request(arrival.request.value);
  }
  if (!submission.streams) entry->whole.emplace();
  std::unique_ptr<Ticket> ticket(new Ticket(*this, io_, arrival.request));
  entry->ticket = ticket.get();
  entries_.emplace(arrival.request, std::move(entry));
  act();
  return ticket;
}

Duration DispatchDriver::retry_after(const std::string& key) const {
  const auto found = models_.find(key);
  if (found == models_.end()) return std::chrono::seconds(1);
  return dispatcher_.retry_after(found->second->id, Clock::now());
}

bool DispatchDriver::unload(const std::string& key) {
  const auto found = models_.find(key);
  if (found == models_.end()) return false;
  const bool loaded = dispatcher_.unload(found->second->id, Clock::now());
  act();
  return loaded;
}

void DispatchDriver::shutdown(std::function<void()> done) {
  shutting_down_ = true;
  pin_timer_.cancel();
  on_shut_down_ = std::move(done);
  dispatcher_.shutdown(Clock::now());
  act();
}

void DispatchDriver::end_now() {
  std::vector<RequestId> requests;
  for (const auto& [request, entry] : entries_) requests.push_back(request);
  for (const RequestId request : requests) {
    end(request, EventFailed{{ErrorCode::kUnavailable, "the server is shutting down"}, std::nullopt});
  }
  for (const auto& [id, runner] : runners_) runner->process->kill();
}

// Carries out what the dispatcher has decided, until it has nothing more to say.
void DispatchDriver::act() {
  if (acting_) return;
  acting_ = true;
  for (auto actions = dispatcher_.take_actions(); !actions.empty(); actions = dispatcher_.take_actions()) {
    if (settings_.debug) log_explanations();
    for (Action& action : actions) {
      std::visit([this](auto& what) { perform(std::move(what)); }, action);
    }
  }
  acting_ = false;
  share_processors();
  if (settings_.debug) log_explanations();
  arm_timer();
  if (on_shut_down_ && entries_.empty() && runners_.empty()) asio::post(io_, std::exchange(on_shut_down_, nullptr));
}

// Threads of several runners on the same processors would wait for each other at each barrier of a step (ADR 14).
void DispatchDriver::share_processors() {
  const int busy = std::max(dispatcher_.busy_runners(), 1);
  for (const auto& [id, runner] : runners_) {
    if (runner->sharers == busy || runner->loaded == TimePoint{} || runner->stopping) continue;
    runner->sharers = busy;
    pb::ToRunner frame;
    frame.mutable_share()->set_runners(static_cast<std::uint32_t>(busy));
    runner->process->send(frame);
  }
}

void DispatchDriver::arm_timer() {
  const TimePoint due = dispatcher_.next_due();
  if (due == timer_due_) return;
  timer_due_ = due;
  if (due == kNever) {
    timer_.cancel();
    return;
  }
  timer_.expires_at(due);
  timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    timer_due_ = kNever;
    tick();
  });
}

void DispatchDriver::perform(const StartRunner& action) {
  Model& model = *models_by_id_.at(action.model.value);
  const ModelTarget& target = model.target;
  auto process = RunnerProcess::start(
      io_, executable_,
      {[this, id = action.runner](pb::FromRunner& message) { on_message(id, message); },
       [this, id = action.runner](const RunnerEnd& end) { on_gone(id, end); }, runner_log(target.name)});
  if (!process) {
    spdlog::error("{} cannot be loaded: {}", target.name, process.error().message);
    dispatcher_.load_failed(action.runner, process.error(), false, Clock::now());
    dispatcher_.runner_gone(action.runner, process.error().message, Clock::now());
    return;
  }
  const char* purpose = target.embedding ? " for embeddings" : "";
  spdlog::info("loading {} in process {}{}", target.name, (*process)->pid(), purpose);
  auto runner = std::make_unique<Runner>();
  runner->id = action.runner;
  runner->model = &model;
  runner->process = *process;
  runner->name = target.name;
  runner->manifest_digest = target.manifest_digest;
  runner->started = Clock::now();
  runner->metrics = &metrics_.of(target.name);
  if (std::exchange(model.failed, false)) ++runner->metrics->restarts;
  pb::ToRunner frame;
  pb::Load& load = *frame.mutable_load();
  load.set_name(target.name);
  load.set_model_path(target.model_path);
  for (const std::string& path : target.shard_paths) load.add_shard_paths(path);
  for (const std::string& path : target.adapter_paths) load.add_adapter_paths(path);
  const int context = action.context_length > 0 ? action.context_length : context_default(settings_);
  load.set_family_template(target.family_template);
  load.set_context_length(static_cast<std::uint32_t>(context));
  load.set_parallel(static_cast<std::uint32_t>(settings_.parallel));
  load.set_itl_target_ms(static_cast<std::uint32_t>(settings_.itl_target_ms));
  load.set_batch(static_cast<std::uint32_t>(std::max(target.batch, 0)));
  load.set_threads(static_cast<std::uint32_t>(std::max(target.threads, 0)));
  load.set_gpu_layers(target.gpu_layers);
  load.set_main_gpu(static_cast<std::uint32_t>(std::max(target.main_gpu, 0)));
  load.set_use_mmap(target.use_mmap);
  load.set_embedding(target.embedding);
  load.set_kv_cache_type(settings_.kv_cache_type);
  load.set_flash_attention(settings_.flash_attention ? (*settings_.flash_attention ? 1 : 0) : -1);
  runner->process->send(frame);
  runners_.emplace(action.runner, std::move(runner));
}

void DispatchDriver::perform(const StopRunner& action) {
  const auto found = runners_.find(action.runner);
  if (found == runners_.end()) return;
  Runner& runner = *found->second;
  spdlog::info("unloading {}: {}", runner.name, reason_text(action.reason));
  runner.stopping = true;
  ++runner.metrics->unloads[static_cast<std::size_t>(action.reason)];
  if (action.reason == StopReason::kHung || action.reason == StopReason::kLoadStalled) runner.model->failed = true;
  release_requests_of(runner.id);
  const bool by_force = action.reason == StopReason::kHung || action.reason == StopReason::kLoadStalled ||
                        action.reason == StopReason::kAbandoned;
  if (by_force) {
    runner.process->kill();
  } else {
    runner.process->ask_to_end();
  }
}

void DispatchDriver::perform(const Dispatch& action) {
  Entry& entry = *entries_.at(action.request);
  const Runner& runner = *runners_.at(action.runner);
  RequestRecord& record = entry.record;
  entry.runner = action.runner;
  entry.placed = Clock::now();
  if (record.dispatched == TimePoint{}) {
    record.dispatched = entry.placed;
    record.load = std::max(runner.loaded - std::max(runner.started, record.arrived), Duration::zero());
    entry.metrics->on_dispatched(record);
  } else {  // a replay begins anew
    record.first_output = {};
    record.output_tokens = 0;
    record.tokens_noted = 0;
    if (entry.whole) entry.whole->Clear();
    entry.whole_bytes = 0;
  }
  const Duration waited = entry.placed - record.arrived;
  deliver(action.request, EventDispatched{waited, std::max(waited - record.load, Duration::zero())});
  runner.process->send(entry.frame);
}

void DispatchDriver::perform(const CancelOnRunner& action) {
  const auto found = runners_.find(action.runner);
  if (found == runners_.end()) return;
  pb::ToRunner frame;
  frame.mutable_cancel()->set_request(action.request.value);
  found->second->process->send(frame);
}

void DispatchDriver::perform(const Complete& action) {
  end(action.request, EventLoaded{});
}

void DispatchDriver::perform(Fail action) {
  end(action.request, EventFailed{std::move(action.error), action.retry_after});
}

void DispatchDriver::deliver(RequestId request, RequestEvent event) {
  const auto found = entries_.find(request);
  if (found != entries_.end() && found->second->ticket != nullptr) found->second->ticket->deliver(std::move(event));
}

// The request's last event: after it, nobody refers to it any more.
void DispatchDriver::end(RequestId request, RequestEvent event) {
  const auto found = entries_.find(request);
  if (found == entries_.end()) return;
  note_end(*found->second, event, Clock::now());
  Ticket* ticket = found->second->ticket;
  entries_.erase(found);
  if (ticket == nullptr) return;
  ticket->deliver(std::move(event));
  ticket->ended_ = true;
}

void DispatchDriver::cancel(RequestId request) {
  const auto found = entries_.find(request);
  if (found == entries_.end()) return;
  Entry& entry = *found->second;
  entry.ticket = nullptr;
  const bool running = entry.runner != RunnerId{};
  const TimePoint now = Clock::now();
  dispatcher_.cancel(request, now);
  // A waiting request is forgotten at once; a running one when its runner has let go of it.
  if (!running) {
    note_end(entry.record, entry.leaving, {}, now);
    entries_.erase(found);
  }
  act();
}

void DispatchDriver::on_message(RunnerId id, pb::FromRunner& message) {
  const auto found = runners_.find(id);
  if (found == runners_.end() || found->second->stopping) return;
  Runner& runner = *found->second;
  const TimePoint now = Clock::now();
  switch (message.kind_case()) {
    case pb::FromRunner::kLoadProgress:
      dispatcher_.load_progress(id, message.load_progress().fraction(), now);
      break;
    case pb::FromRunner::kLoaded: {
      const pb::Loaded& loaded = message.loaded();
      runner.device_bytes = loaded.device_bytes();
      runner.loaded = now;
      runner.kv.cells = loaded.kv_cells();
      runner.model->last_load = now - runner.started;
      runner.metrics->load.observe(runner.model->last_load);
      // What the engine counts leaves out the process around it; what is resident leaves out pages not touched yet.
      runner.memory_bytes = std::max(loaded.memory_bytes(), runner.process->resident_bytes() + loaded.device_bytes());
      spdlog::info("loaded {}{}: context {}, {} places, {} MiB", runner.name,
                   runner.model->target.embedding ? " for embeddings" : "", loaded.context_length(), loaded.parallel(),
                   runner.memory_bytes >> 20);
      runner.notice = loaded.notice();
      if (!runner.notice.empty()) spdlog::warn("{}: {}", runner.name, runner.notice);
      dispatcher_.loaded(
          id, {static_cast<int>(loaded.parallel()), static_cast<int>(loaded.context_length()), runner.memory_bytes},
          now);
      break;
    }
    case pb::FromRunner::kStarted: {
      const RequestId request{message.started().request()};
      if (const auto entry = entries_.find(request); entry != entries_.end()) {
        entry->second->record.prompt_tokens = message.started().prompt_tokens();
      }
      deliver(request, std::move(*message.mutable_started()));
      break;
    }
    case pb::FromRunner::kChunks:
      dispatcher_.progress(id, now);
      for (pb::Chunk& chunk : *message.mutable_chunks()->mutable_chunks()) {
        on_chunk(std::move(chunk), now);
      }
      break;
    case pb::FromRunner::kFinished: {
      const RequestId request{message.finished().request()};
      dispatcher_.progress(id, now);
      dispatcher_.finished(request, now);
      if (const auto entry = entries_.find(request); entry != entries_.end() && entry->second->whole) {
        deliver(request, std::move(*entry->second->whole));
      }
      end(request, std::move(*message.mutable_finished()));
      break;
    }
    case pb::FromRunner::kEmbedded: {
      const RequestId request{message.embedded().request()};
      dispatcher_.progress(id, now);
      dispatcher_.finished(request, now);
      end(request, std::move(*message.mutable_embedded()));
      break;
    }
    case pb::FromRunner::kFailed:
      on_failed(runner, message.failed());
      break;
    case pb::FromRunner::kHealth:
      if (message.health().progress() != runner.progress) dispatcher_.progress(id, now);
      runner.progress = message.health().progress();
      runner.kv.used = message.health().kv_cells_used();
      runner.kv.shared = message.health().kv_cells_shared();
      runner.kv.kept = message.health().kv_cells_kept();
      runner.parked = message.health().parked();
      if (message.health().parallel() > 0) {
        dispatcher_.set_places(id, static_cast<int>(message.health().parallel()), now);
      }
      break;
    default:
      spdlog::warn("a message that the front does not know");
  }
  act();
}

void DispatchDriver::on_chunk(pb::Chunk chunk, TimePoint now) {
  const RequestId request{chunk.request()};
  const auto found = entries_.find(request);
  if (found == entries_.end()) return;
  Entry& entry = *found->second;
  entry.metrics->on_output(entry.record, now);
  if (entry.ticket == nullptr) return;
  if (entry.whole) {
    entry.whole_bytes += chunk.ByteSizeLong();
    append(*entry.whole, chunk);
    if (entry.whole_bytes > kWholeBytesMax) {
      give_up(request, {ErrorCode::kTooLarge, "the answer is too large to be sent whole: ask for a stream"});
    }
    return;
  }
  dispatcher_.output_sent(request, now);
  entry.ticket->deliver(std::move(chunk));
  if (entry.ticket->unread_bytes_ > kUnreadBytesMax) {
    give_up(request, {ErrorCode::kCanceled, "the client does not read its answer"});
  }
}

void DispatchDriver::give_up(RequestId request, Error error) {
  Entry& entry = *entries_.at(request);
  spdlog::warn("request {} is ended: {}", entry.record.identity.id, error.message);
  entry.ticket->deliver(EventFailed{std::move(error), std::nullopt});
  entry.ticket->ended_ = true;
  entry.leaving = Outcome::kCanceled;
  cancel(request);
}

void DispatchDriver::on_failed(Runner& runner, const pb::Failed& failed) {
  const TimePoint now = Clock::now();
  Error error = internal(failed.message());
  if (failed.kind() == pb::Failed::INVALID) error.code = ErrorCode::kInvalidArgument;
  if (failed.kind() == pb::Failed::PROMPT_TOO_LONG) error.code = ErrorCode::kPromptTooLong;
  if (failed.kind() == pb::Failed::MEMORY) error.code = ErrorCode::kNoSpace;
  if (failed.kind() == pb::Failed::MISSING) error = not_found(fmt::format("model '{}' not found", runner.name));
  if (failed.request() == 0) {
    spdlog::error("{} cannot be loaded: {}", runner.name, failed.message());
    ++runner.metrics->load_failures;
    runner.load_failed = true;
    if (error.code == ErrorCode::kNoSpace) error.code = ErrorCode::kInternal;
    dispatcher_.load_failed(runner.id, error, failed.kind() == pb::Failed::MEMORY, now);
    return;
  }
  const RequestId request{failed.request()};
  dispatcher_.finished(request, now);
  end(request, EventFailed{std::move(error), std::nullopt});
}

void DispatchDriver::on_gone(RunnerId id, const RunnerEnd& end) {
  const auto found = runners_.find(id);
  if (found == runners_.end()) return;
  Runner& runner = *found->second;
  if (!runner.stopping && !runner.load_failed) {
    const auto culprit = entries_.find(end.culprit);
    spdlog::error("the runner of {} has ended: {}{}", runner.name, end.how,
                  culprit == entries_.end() ? "" : ", at work for request " + culprit->second->record.identity.id);
    ++runner.metrics->crashes;
    runner.model->failed = true;
  }
  release_requests_of(id);
  runners_.erase(found);
  dispatcher_.runner_gone(id, end.how, Clock::now(), {.request = end.culprit, .from_outside = end.from_outside});
  act();
}

// A runner that ends has no more requests: those whose client has left are forgotten, the others are the dispatcher's
// to replay or to fail.
void DispatchDriver::release_requests_of(RunnerId id) {
  std::vector<RequestId> abandoned;
  for (const auto& [request, entry] : entries_) {
    if (entry->runner != id) continue;
    entry->runner = {};
    if (entry->ticket == nullptr) abandoned.push_back(request);
  }
  for (const RequestId request : abandoned) {
    Entry& entry = *entries_.at(request);
    note_end(entry.record, entry.leaving, {}, Clock::now());
    entries_.erase(request);
  }
}

// What is available now, and what the runners have already.
void DispatchDriver::update_memory_bound(TimePoint now) {
  if (now - memory_read_ < kMemoryReadInterval && memory_read_ != TimePoint{}) return;
  memory_read_ = now;
  const std::uint64_t available = available_memory_bytes();
  if (available == 0) return;
  std::uint64_t held = 0;
  for (const auto& [id, runner] : runners_) held += runner->process->resident_bytes();
  const auto share = static_cast<std::uint64_t>(static_cast<double>(available) * kMemoryShare);
  memory_bytes_max_ = held + share;
  dispatcher_.set_memory_bound(memory_bytes_max_, now);
}

void DispatchDriver::pin(const ModelTarget& target) {
  model_for(target);
  const bool first = pins_.empty();
  pins_[target.key];
  if (first) asio::post(io_, [this] { load_pins(); });
}

// Asks for each pinned model until it has been loaded once; a back-off after a failed load refuses that for a while.
void DispatchDriver::load_pins() {
  bool all = true;
  for (auto& [key, pin] : pins_) {
    if (pin.ticket != nullptr && pin.ticket->ended_) {
      pin.loaded = pin.ticket->has_loaded();
      pin.ticket.reset();
    }
    if (pin.loaded) continue;
    all = false;
    if (pin.ticket != nullptr) continue;
    Submission submission;
    submission.target = models_.at(key)->target;
    submission.client = "pin";
    submission.identity.client = "pin";
    submission.load_only = true;
    if (auto admitted = submit(std::move(submission))) {
      pin.ticket = std::move(*admitted);
    } else if (const std::string& why = admitted.error().message; why != pin.refusal) {
      pin.refusal = why;
      spdlog::warn("the pinned model {} cannot be loaded now: {}", models_.at(key)->target.name, why);
    }
  }
  if (all || shutting_down_) return;
  pin_timer_.expires_after(kPinRetryInterval);
  pin_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) load_pins();
  });
}

}  // namespace drover
