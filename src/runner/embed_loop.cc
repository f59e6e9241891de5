#include "runner/embed_loop.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/failed.h"
#include "base/work_page.h"
#include "prepare/prompt_wire.h"

namespace drover {
namespace {

// Tokens of a lane's batch. With fewer, reading the weights dominates. With more, each token costs more, because
// attention is computed between all tokens of a batch, also of different inputs.
constexpr int kLaneTokens = 128;

std::string to_bytes(const std::vector<float>& vector) {
  static_assert(std::endian::native == std::endian::little);
  return std::string(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
}

EmbedLimits limits_of(const Embedder& wide, const std::vector<std::unique_ptr<Embedder>>& lanes) {
  EmbedLimits limits;
  limits.inputs = wide.batch_inputs_max();
  limits.wide_tokens = wide.batch_tokens_max();
  limits.lanes = static_cast<int>(lanes.size());
  if (lanes.empty()) return limits;
  limits.lane_tokens = std::min(kLaneTokens, limits.wide_tokens);
  limits.lane_input_tokens = lanes.front()->context_length();
  return limits;
}

}  // namespace

EmbedLoop::EmbedLoop(const LlamaModel& model, Embedder& wide, std::vector<std::unique_ptr<Embedder>> lanes,
                     Keeper& keeper, const PrepareLimits& limits, FrameChannel& channel)
    : model_(model),
      wide_(wide),
      lanes_(std::move(lanes)),
      channel_(channel),
      tokenizing_(
          keeper, limits,
          {.on_answer = [this](pb::PrepareWork& work,
                               pb::PrepareAnswer& answer) { on_tokens(work.embed(), answer.inputs()); },
           .on_failed = [this](RequestId request, const Error& error) { fail(request, error); },
           .on_canceled = [this](RequestId request, bool here) { here ? send_canceled(request) : remove(request); }}),
      packer_(limits_of(wide, lanes_)) {}

void EmbedLoop::accept(pb::Embed work) {
  running_.fetch_add(1, std::memory_order_relaxed);
  if (work.texts_size() > 0) {
    pb::PrepareWork item;
    *item.mutable_embed() = std::move(work);
    return tokenizing_.add(std::move(item));
  }
  std::vector<std::vector<Token>> inputs;
  for (const pb::TokenList& list : work.token_lists()) {
    const std::vector<Token>& tokens = inputs.emplace_back(list.tokens().begin(), list.tokens().end());
    const auto is_known = [&](Token token) { return token >= 0 && token < model_.vocabulary_size(); };
    if (!std::all_of(tokens.begin(), tokens.end(), is_known)) {
      return fail(RequestId{work.request()}, invalid("input has a token that is not in the model's vocabulary"));
    }
  }
  prepare(work, std::move(inputs));
}

// ---- the thread that has tokens made

void EmbedLoop::on_tokens(const pb::Embed& work, const pb::Inputs& made) {
  std::vector<std::vector<Token>> inputs;
  for (const std::string& bytes : made.tokens()) {
    auto tokens = read_tokens(bytes, model_.vocabulary_size());
    if (!tokens) return fail(RequestId{work.request()}, tokens.error());
    inputs.push_back(std::move(*tokens));
  }
  prepare(work, std::move(inputs));
}

void EmbedLoop::prepare(const pb::Embed& work, std::vector<std::vector<Token>> inputs) {
  auto job = std::make_unique<Job>();
  job->request = RequestId{work.request()};
  if (inputs.empty()) return fail(job->request, invalid("input is empty"));
  for (std::vector<Token>& tokens : inputs) {
    if (auto checked = check_input(work, tokens); !checked) return fail(job->request, checked.error());
    job->tokens += tokens.size();
  }
  job->inputs = std::move(inputs);
  job->missing = job->inputs.size();
  job->vectors.resize(job->inputs.size());
  add(std::move(job));
}

Result<void> EmbedLoop::check_input(const pb::Embed& work, std::vector<Token>& tokens) const {
  // A vocabulary without special tokens at the ends turns an empty text into no tokens.
  if (tokens.empty()) return invalid("input content cannot be empty");
  const auto asked = static_cast<int>(std::min<std::uint32_t>(work.context_length(), 1u << 30));
  const int most = asked > 0 ? std::min(asked, wide_.context_length()) : wide_.context_length();
  if (tokens.size() > static_cast<std::size_t>(most)) {
    if (!work.truncate()) return invalid("the input length exceeds the context length");
    wide_.truncate(tokens, most);
  }
  return {};
}

void EmbedLoop::add(std::unique_ptr<Job> job) {
  const RequestId request = job->request;
  std::vector<int> sizes;
  for (const auto& input : job->inputs) sizes.push_back(static_cast<int>(input.size()));
  {
    const MutexLock lock(mutex_);
    jobs_.emplace(request, std::move(job));
    packer_.add(request, std::move(sizes));
  }
  changed_.notify_all();
}

void EmbedLoop::remove(RequestId request) {
  {
    const MutexLock lock(mutex_);
    if (jobs_.erase(request) == 0) return;  // it has been answered already
    packer_.remove(request);
  }
  changed_.notify_all();
  send_canceled(request);
}

// ---- the computing threads

void EmbedLoop::compute_wide() {
  compute(wide_, EmbedWorker::kWide);
}

void EmbedLoop::compute_in_lane(std::size_t lane) {
  compute(*lanes_[lane], EmbedWorker::kLane);
}

void EmbedLoop::compute(Embedder& embedder, EmbedWorker worker) {
  while (true) {
    const Batch batch = next_batch(worker);
    const std::vector<Embedder::Input> inputs(batch.inputs.begin(), batch.inputs.end());
    const auto& picked = batch.picked;
    const auto is_of_first = [&](const auto& each) { return each.request == picked.front().request; };
    const bool only = std::all_of(picked.begin(), picked.end(), is_of_first);
    const Vectors vectors = [&] {
      const AtWork at_work(only ? picked.front().request : RequestId{});
      return embedder.compute(inputs);
    }();
    for (const auto& job : take(batch, vectors, worker)) {
      if (vectors) {
        answer(*job);
      } else {
        fail(job->request, vectors.error());
      }
    }
  }
}

// Waits until there is a batch for the worker.
EmbedLoop::Batch EmbedLoop::next_batch(EmbedWorker worker) {
  Batch batch;
  MutexLock lock(mutex_);
  while ((batch.picked = packer_.next(worker)).empty()) lock.wait(changed_);
  const TimePoint now = Clock::now();
  for (const auto& [request, input] : batch.picked) {
    Job& job = *jobs_.at(request);
    if (job.started == TimePoint{}) job.started = now;
    batch.inputs.push_back(std::move(job.inputs[input]));
  }
  return batch;
}

// Stores the vectors of a batch, or its failure. Returns the requests that can be answered now.
std::vector<std::unique_ptr<EmbedLoop::Job>> EmbedLoop::take(const Batch& batch, const Vectors& vectors,
                                                             EmbedWorker worker) {
  std::vector<std::unique_ptr<Job>> done;
  {
    const MutexLock lock(mutex_);
    packer_.finished(worker, batch.picked.size());
    for (std::size_t i = 0; i < batch.picked.size(); ++i) {
      const auto& [request, input] = batch.picked[i];
      const auto found = jobs_.find(request);
      if (found == jobs_.end()) continue;  // canceled, or failed
      Job& job = *found->second;
      if (vectors) job.vectors[input] = to_bytes((*vectors)[i]);
      if (vectors && --job.missing > 0) continue;
      if (!vectors) packer_.remove(request);
      done.push_back(std::move(found->second));
      jobs_.erase(found);
    }
  }
  changed_.notify_all();
  return done;
}

// ---- answers

void EmbedLoop::answer(Job& job) {
  pb::FromRunner frame;
  pb::Embedded& embedded = *frame.mutable_embedded();
  embedded.set_request(job.request.value);
  for (std::string& bytes : job.vectors) embedded.add_vectors(std::move(bytes));
  embedded.set_prompt_tokens(static_cast<std::uint32_t>(job.tokens));
  using std::chrono::nanoseconds;
  const auto taken = std::chrono::duration_cast<nanoseconds>(Clock::now() - job.started).count();
  embedded.set_compute_ns(static_cast<std::uint64_t>(taken));
  send(frame);
}

void EmbedLoop::fail(RequestId request, const Error& error) {
  pb::FromRunner frame;
  frame.mutable_failed()->set_request(request.value);
  write_error(error, *frame.mutable_failed());
  send(frame);
}

void EmbedLoop::send_canceled(RequestId request) {
  pb::FromRunner frame;
  frame.mutable_finished()->set_request(request.value);
  frame.mutable_finished()->set_reason(pb::Finished::CANCELED);
  send(frame);
}

// The last frame of a request.
void EmbedLoop::send(const pb::FromRunner& frame) {
  channel_.write(frame);
  running_.fetch_sub(1, std::memory_order_relaxed);
}

pb::Health EmbedLoop::health() const {
  pb::Health health;
  std::uint64_t progress = wide_.progress() + tokenizing_.progress();
  for (const auto& lane : lanes_) progress += lane->progress();
  health.set_progress(progress);
  health.set_running(running_.load(std::memory_order_relaxed));
  return health;
}

}  // namespace drover
