#include "runner/runner.h"

#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/failed.h"
#include "base/work_page.h"
#include "engine/embedder.h"
#include "engine/engine_library.h"
#include "engine/engine_log.h"
#include "engine/family_templates.h"
#include "engine/kernel_check.h"
#include "engine/llama_engine.h"
#include "engine/llama_model.h"
#include "prepare/keeper.h"
#include "runner/embed_loop.h"
#include "runner/engine_loop.h"
#include "runner/frame_channel.h"
#include "runner/output_worker.h"
#include "runner/preparer.h"
#include "sandbox/sandbox.h"

namespace drover {
namespace {

constexpr int kContextMin = 16;
// With auto: slots at first, and the most that are tried. Each slot of a recurrent model takes extra memory.
constexpr int kSlotsAuto = 4;
constexpr int kSlotsAutoMax = 16;
constexpr int kSlotsAutoMaxRecurrent = 8;
constexpr int kStepTokens = 512;
// A step of a recurrent model is not aborted for a cancel, because its state cannot be restored. So its steps are
// shorter.
constexpr int kStepTokensRecurrent = 128;
constexpr auto kHealthInterval = std::chrono::milliseconds(500);
// The pool holds this many full contexts for any number of slots. Slots share it and take no memory of their own.
constexpr int kPoolContexts = 2;
// Lanes of an embedding runner: the longest input, requests in flight per lane, the memory that all lanes may take even
// if the model is smaller, and the increase of their threads' niceness.
constexpr int kLaneInputTokens = 256;
constexpr int kLaneRequests = 32;
constexpr std::uint64_t kLaneBytesSmall = 256u << 20;
constexpr int kLaneNiceness = 5;

struct LoadedModel {
  std::unique_ptr<LlamaModel> model;
  std::unique_ptr<LlamaEngine> engine;
  int context_length = 0;
  int slots = 1;      // at first
  int slots_max = 1;  // for which there is room
  std::string notice;
};

// Makes the context, with fewer slots if memory is short.
Result<void> make_engine(ContextOptions context, LoadedModel& loaded) {
  const int asked = loaded.slots_max;
  while (true) {
    context.cells = loaded.context_length * std::min(loaded.slots_max, kPoolContexts);
    context.seqs = loaded.slots_max;
    auto engine = LlamaEngine::create(*loaded.model, context);
    if (engine) {
      loaded.engine = std::move(*engine);
      break;
    }
    if (engine.error().code != ErrorCode::kNoSpace || loaded.slots_max == 1) return std::move(engine).error();
    loaded.slots_max /= 2;
  }
  loaded.slots = std::min(loaded.slots, loaded.slots_max);
  if (loaded.slots_max < asked) {
    loaded.notice = fmt::format("memory suffices for {} of {} slots", loaded.slots_max, asked);
  }
  return {};
}

// Finds the engine variant whose kernels compute this model correctly on this machine, and selects it.
Result<Kernels> prepare_engine(const pb::Load& load) {
  auto engine = inspect_engine(wanted_variant());
  if (!engine) return std::move(engine).error();
  for (const std::string& why : engine->unloadable) spdlog::debug("a variant of the engine cannot be loaded: {}", why);
  std::vector<std::string> paths = {load.model_path()};
  paths.insert(paths.end(), load.shard_paths().begin(), load.shard_paths().end());
  return choose_kernels(engine->variants, paths);
}

// A model is an untrusted file, and from here on it is read. Returns the restrictions that failed, apart from features
// that the kernel lacks, which the server has logged at its start.
Result<std::vector<std::string>> confine(const pb::Load& load, SandboxProfile profile) {
  SandboxRules rules;
  rules.profile = profile;
  rules.readable = {load.model_path(), engine_folder().string()};
  rules.readable.insert(rules.readable.end(), load.shard_paths().begin(), load.shard_paths().end());
  rules.readable.insert(rules.readable.end(), load.adapter_paths().begin(), load.adapter_paths().end());
  const std::vector<std::string> said = sandbox_support().missing;
  auto missing = enter_sandbox(rules, wanted_sandbox());
  if (!missing) return missing;
  std::erase_if(*missing,
                [&](const std::string& what) { return std::find(said.begin(), said.end(), what) != said.end(); });
  return missing;
}

// Starts the keeper, whose workers prepare requests (prepare/keeper.h).
Result<std::unique_ptr<Keeper>> start_keeper(const pb::Load& load) {
  KeeperOptions options;
  options.model_path = load.model_path();
  options.shard_paths.assign(load.shard_paths().begin(), load.shard_paths().end());
  options.with_template = !load.embedding();
  const auto family = std::find_if(family_templates().begin(), family_templates().end(),
                                   [&](const FamilyTemplate& each) { return each.name == load.family_template(); });
  if (!load.family_template().empty() && family != family_templates().end()) {
    options.template_override = family->bytes;
  }
  options.confine = [&load]() -> Result<void> {
    const auto confined = confine(load, SandboxProfile::kRunner);  // the keeper uses no device
    if (!confined) return confined.error();
    return {};
  };
  return Keeper::start(options);
}

PrepareLimits prepare_limits() {
  PrepareLimits limits;
  limits.slow_running_max = std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 4, 1, limits.slow_max);
  return limits;
}

// Whether a path still leads to the same file: a number of a file that was deleted is soon another's, so its time of
// change is a part of it. All 0: there is none.
struct FileIdentity {
  std::uint64_t number = 0;
  std::int64_t seconds = 0;
  std::int64_t nanoseconds = 0;
  bool operator==(const FileIdentity&) const = default;
};

// The files of a model, as they are now.
std::vector<FileIdentity> files_of(const pb::Load& load) {
  std::vector<FileIdentity> files;
  const auto add = [&](const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) status = {};
    files.push_back({status.st_ino, status.st_ctim.tv_sec, status.st_ctim.tv_nsec});
  };
  add(load.model_path());
  for (const std::string& path : load.shard_paths()) add(path);
  for (const std::string& path : load.adapter_paths()) add(path);
  return files;
}

Result<std::unique_ptr<LlamaModel>> load_model(const pb::Load& load, Keeper& keeper, FrameChannel& channel) {
  const auto kernels = prepare_engine(load);
  if (!kernels) return kernels.error();
  ModelOptions options;
  options.path = load.model_path();
  options.shard_paths.assign(load.shard_paths().begin(), load.shard_paths().end());
  options.adapter_paths.assign(load.adapter_paths().begin(), load.adapter_paths().end());
  options.packed_weights = kernels->packed;
  options.gpu_layers = load.gpu_layers();
  options.main_gpu = static_cast<int>(load.main_gpu());
  options.use_mmap = load.use_mmap();
  int reported_percent = -1;
  options.on_progress = [&](float fraction) {
    if (const int percent = static_cast<int>(fraction * 100); percent != reported_percent) {
      reported_percent = percent;
      pb::FromRunner frame;
      frame.mutable_load_progress()->set_fraction(fraction);
      channel.write(frame);
    }
    return keeper.ready(false).ok();
  };
  auto model = LlamaModel::load(options);
  // If the keeper failed, the load was stopped early and has no reason of its own.
  if (const auto ready = keeper.ready(model.ok()); !ready) return ready.error();
  return model;
}

int context_length_of(const pb::Load& load, const LlamaModel& model) {
  return std::max(std::min(static_cast<int>(load.context_length()), model.trained_context()), kContextMin);
}

Result<LoadedModel> load_generator(const pb::Load& load, Keeper& keeper, FrameChannel& channel) {
  LoadedModel loaded;
  auto model = load_model(load, keeper, channel);
  if (!model) return std::move(model).error();
  loaded.model = std::move(*model);
  if (!loaded.model->can_generate()) return invalid("the model does not support generate");
  loaded.context_length = context_length_of(load, *loaded.model);
  const int most = loaded.model->is_recurrent() ? kSlotsAutoMaxRecurrent : kSlotsAutoMax;
  loaded.slots = load.slots() > 0 ? static_cast<int>(load.slots()) : kSlotsAuto;
  loaded.slots_max = load.slots() > 0 ? loaded.slots : most;
  ContextOptions context;
  const int step_tokens = loaded.model->is_recurrent() ? kStepTokensRecurrent : kStepTokens;
  context.step_tokens_max = load.batch() > 0 ? static_cast<int>(load.batch()) : step_tokens;
  context.step_tokens_max = std::max(context.step_tokens_max, loaded.slots_max);
  context.threads = static_cast<int>(load.threads());
  context.kv_cache_type = load.kv_cache_type();
  context.flash_attention = load.flash_attention();
  if (auto made = make_engine(context, loaded); !made) return std::move(made).error();
  return loaded;
}

void report_failed_load(const Error& error, FrameChannel& channel) {
  pb::FromRunner frame;
  write_error(error, *frame.mutable_failed());
  channel.write(frame);
}

void report_loaded(const LoadedModel& loaded, FrameChannel& channel) {
  pb::FromRunner frame;
  pb::Loaded& message = *frame.mutable_loaded();
  message.set_context_length(static_cast<std::uint32_t>(loaded.context_length));
  message.set_slots(static_cast<std::uint32_t>(loaded.slots));
  message.set_memory_bytes(loaded.engine->memory_bytes());
  message.set_device_bytes(loaded.engine->device_bytes());
  message.set_kv_cells(static_cast<std::uint32_t>(loaded.engine->limits().cells));
  message.set_can_infill(loaded.model->infill().complete());
  message.set_notice(loaded.notice);
  channel.write(frame);
}

// Reports progress to the front twice a second while there is work, and once afterwards. A stopped process reports
// nothing.
[[noreturn]] void report_health(FrameChannel& channel, const std::function<pb::Health()>& health) {
  pb::Health told;
  while (true) {
    std::this_thread::sleep_for(kHealthInterval);
    pb::FromRunner frame;
    *frame.mutable_health() = health();
    // A request may have come and gone between two reports. The progress shows that.
    if (frame.health().running() == 0 && told.running() == 0 && frame.health().progress() == told.progress()) continue;
    told = frame.health();
    channel.write(frame);
  }
}

// Reads frames until the front is gone or asks this runner to end. The process then ends at once: nobody waits for the
// running step.
[[noreturn]] void read_frames(FrameChannel& channel, const std::function<void(pb::ToRunner&)>& on_frame) {
  pb::ToRunner message;
  while (channel.read(message)) {
    on_frame(message);
    message.Clear();
  }
  std::_Exit(0);
}

// The engine computes on this thread, which is one of its pool's.
[[noreturn]] void serve(LoadedModel& loaded, Keeper& keeper, const EngineLoopOptions& options, FrameChannel& channel) {
  Mailbox<EngineMail> engine_mail;
  Mailbox<OutputMail> output_mail;
  Preparer preparer(*loaded.model, keeper, prepare_limits(), loaded.context_length, channel, engine_mail);
  EngineLoop loop(*loaded.model, *loaded.engine, options, engine_mail, output_mail);
  loop.calibrate();
  report_loaded(loaded, channel);
  OutputWorker output(*loaded.model, channel, engine_mail);
  const auto on_frame = [&](pb::ToRunner& message) {
    switch (message.kind_case()) {
      case pb::ToRunner::kGenerate:
        engine_mail.post(Announced{RequestId{message.generate().request()}});
        preparer.accept(std::move(*message.mutable_generate()));
        break;
      case pb::ToRunner::kCancel:
        loop.cancel(RequestId{message.cancel().request()});
        preparer.cancel(RequestId{message.cancel().request()});
        break;
      case pb::ToRunner::kShare:
        loaded.engine->share_processors(static_cast<int>(message.share().runners()));
        break;
      default:
        spdlog::warn("unknown message from the server");
    }
  };
  // Preparing counts as work.
  const auto health = [&] {
    pb::Health all = loop.health();
    all.set_running(all.running() + preparer.requests());
    all.set_progress(all.progress() + preparer.progress());
    return all;
  };
  std::thread prepare_thread([&] { preparer.run(); });
  std::thread output_thread([&] { output.run(output_mail); });
  std::thread health_thread([&] { report_health(channel, health); });
  std::thread read_thread([&] { read_frames(channel, on_frame); });
  loop.run();  // its mailbox is never closed: the process ends in read_frames()
  std::_Exit(0);
}

// ---- a runner for embeddings

struct LoadedEmbedder {
  std::unique_ptr<LlamaModel> model;
  std::unique_ptr<Embedder> wide;
  std::vector<std::unique_ptr<Embedder>> lanes;  // one for each thread of `wide`, or none
};

// Makes lanes, as long as all of them together take less memory than the weights. Lanes do not wait for each other
// several times per layer, which pays if layers are small. A device computes one batch at a time, so it gets none.
std::vector<std::unique_ptr<Embedder>> make_lanes(const LlamaModel& model, const Embedder& wide,
                                                  EmbedderOptions options) {
  std::vector<std::unique_ptr<Embedder>> lanes;
  if (wide.device_bytes() > 0 || model.is_recurrent()) return lanes;
  const std::uint64_t bytes_max = std::max(model.weight_bytes(), kLaneBytesSmall);
  options.context_length = std::min(options.context_length, kLaneInputTokens);
  options.batch_tokens = std::min(options.batch_tokens, kLaneInputTokens);
  const auto count = static_cast<std::size_t>(wide.threads());
  options.threads = 1;
  std::uint64_t bytes = 0;
  while (count > 1 && lanes.size() < count) {
    auto lane = Embedder::create(model, options);
    if (!lane) return {};
    bytes += (*lane)->memory_bytes();
    if (bytes > bytes_max) return {};
    lanes.push_back(std::move(*lane));
  }
  return lanes;
}

Result<LoadedEmbedder> load_embedder(const pb::Load& load, Keeper& keeper, FrameChannel& channel) {
  LoadedEmbedder loaded;
  auto model = load_model(load, keeper, channel);
  if (!model) return std::move(model).error();
  loaded.model = std::move(*model);
  EmbedderOptions options;
  options.context_length = context_length_of(load, *loaded.model);
  if (load.batch() > 0) options.batch_tokens = static_cast<int>(load.batch());
  options.threads = static_cast<int>(load.threads());
  options.flash_attention = load.flash_attention();
  auto wide = Embedder::create(*loaded.model, options);
  if (!wide) return std::move(wide).error();
  loaded.wide = std::move(*wide);
  loaded.lanes = make_lanes(*loaded.model, *loaded.wide, options);
  return loaded;
}

void report_loaded(const LoadedEmbedder& loaded, FrameChannel& channel) {
  pb::FromRunner frame;
  pb::Loaded& message = *frame.mutable_loaded();
  message.set_context_length(static_cast<std::uint32_t>(loaded.wide->context_length()));
  // Batches are packed from the requests in flight, so allow as many as all concurrent batches can hold.
  const auto lanes = static_cast<int>(loaded.lanes.size());
  const int in_flight = std::max(loaded.wide->batch_inputs_max(), lanes * kLaneRequests);
  message.set_slots(static_cast<std::uint32_t>(in_flight));
  std::uint64_t bytes = loaded.wide->memory_bytes();
  for (const auto& lane : loaded.lanes) bytes += lane->memory_bytes();
  message.set_memory_bytes(bytes);
  message.set_device_bytes(loaded.wide->device_bytes());
  channel.write(frame);
}

[[noreturn]] void serve_embeddings(LoadedEmbedder& loaded, Keeper& keeper, FrameChannel& channel) {
  EmbedLoop loop(*loaded.model, *loaded.wide, std::move(loaded.lanes), keeper, prepare_limits(), channel);
  const auto on_frame = [&](pb::ToRunner& message) {
    switch (message.kind_case()) {
      case pb::ToRunner::kEmbed:
        loop.accept(std::move(*message.mutable_embed()));
        break;
      case pb::ToRunner::kCancel:
        loop.cancel(RequestId{message.cancel().request()});
        break;
      case pb::ToRunner::kShare:
        loaded.wide->share_processors(static_cast<int>(message.share().runners()));  // lanes have one thread each
        break;
      default:
        spdlog::warn("unknown message from the server");
    }
  };
  std::thread tokenize_thread([&] { loop.tokenize(); });
  std::thread health_thread([&] { report_health(channel, [&] { return loop.health(); }); });
  std::thread read_thread([&] { read_frames(channel, on_frame); });
  std::vector<std::thread> lane_threads;
  for (std::size_t lane = 0; lane < loop.lanes(); ++lane) {
    lane_threads.emplace_back([&loop, lane] {
      // Bulk work yields to interactive work: streams of other models, the front.
      ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLaneNiceness);
      loop.compute_in_lane(lane);
    });
  }
  loop.compute_wide();  // on this thread, as in serve()
  std::_Exit(0);
}

// Error: why the model could not be loaded. Otherwise it ends with the process.
Error run_for_embeddings(const pb::Load& load, Keeper& keeper, FrameChannel& channel) {
  auto loaded = load_embedder(load, keeper, channel);
  if (!loaded) return loaded.error();
  report_loaded(*loaded, channel);
  serve_embeddings(*loaded, keeper, channel);
}

Error run_for_generation(const pb::Load& load, Keeper& keeper, FrameChannel& channel) {
  auto loaded = load_generator(load, keeper, channel);
  if (!loaded) return loaded.error();
  EngineLoopOptions options;
  options.slots = loaded->slots;
  options.slots_max = loaded->slots_max;
  options.itl_target = std::chrono::milliseconds(load.itl_target_ms());
  serve(*loaded, keeper, options, channel);
}

Error run_model(const pb::Load& load, FrameChannel& channel) {
  const auto keeper = start_keeper(load);  // while there is one thread, and little memory
  if (!keeper) return keeper.error();
  set_up_engine_log();
  const SandboxProfile profile = engine_uses_devices() ? SandboxProfile::kGpu : SandboxProfile::kRunner;
  const auto confined = confine(load, profile);
  if (!confined) return confined.error();
  for (const std::string& what : *confined) spdlog::warn("the model's processes are not wholly confined: {}", what);
  return load.embedding() ? run_for_embeddings(load, **keeper, channel) : run_for_generation(load, **keeper, channel);
}

}  // namespace

int run_runner(int descriptor) {
  // The runner ends with the front, even if it is stopped or busy at that time. If the front ended before this call,
  // end of file ends the runner.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGINT, SIG_IGN);  // Ctrl-C is for the front, which ends its runners itself
  receive_work_page(descriptor);
  FrameChannel channel(descriptor);
  pb::ToRunner first;
  if (!channel.read(first) || !first.has_load()) return 1;
  ::prctl(PR_SET_NAME, "drover-runner");
  // A file may be deleted until it is open, and another may take its place: then the sandbox keeps it closed.
  const std::vector<FileIdentity> files = files_of(first.load());
  const Error error = run_model(first.load(), channel);
  const bool gone = std::find(files.begin(), files.end(), FileIdentity()) != files.end();
  const bool same = !gone && files_of(first.load()) == files;
  report_failed_load(same ? error : not_found("a file of the model has been deleted"), channel);
  return 1;
}

}  // namespace drover
