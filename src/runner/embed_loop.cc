#include "runner/embed_loop.h"

#include <algorithm>
#include <bit>
#include <exception>
#include <utility>

namespace drover {
namespace {

std::string to_bytes(const std::vector<float>& vector) {
  static_assert(std::endian::native == std::endian::little);
  return std::string(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
}

}  // namespace

EmbedLoop::EmbedLoop(const LlamaModel& model, Embedder& embedder, FrameChannel& channel)
    : model_(model),
      embedder_(embedder),
      channel_(channel),
      packer_(embedder.batch_tokens_max(), embedder.batch_inputs_max()) {}

void EmbedLoop::accept(pb::Embed work) {
  running_.fetch_add(1, std::memory_order_relaxed);
  unprepared_.post(std::move(work));
}

void EmbedLoop::cancel(RequestId request) {
  unprepared_.post(Canceled{request});
}

// ---- the tokenizing thread

void EmbedLoop::tokenize() {
  std::vector<Unprepared> received;
  while (unprepared_.drain(received, true)) {
    for (Unprepared& item : received) {
      if (const auto* canceled = std::get_if<Canceled>(&item)) {
        mail_.post(*canceled);
        continue;
      }
      auto& work = std::get<pb::Embed>(item);
      try {
        prepare(work);
      } catch (const std::exception& error) {
        fail(RequestId{work.request()}, internal(error.what()));
      }
    }
  }
}

void EmbedLoop::prepare(pb::Embed& work) {
  auto job = std::make_unique<Job>();
  job->request = RequestId{work.request()};
  const int count = std::max(work.texts_size(), work.token_lists_size());
  if (count == 0) return fail(job->request, invalid("there is no input"));
  for (int i = 0; i < count; ++i) {
    auto input = make_input(work, i);
    if (!input) return fail(job->request, input.error());
    job->tokens += input->size();
    job->inputs.push_back(std::move(*input));
    tokenized_.fetch_add(1, std::memory_order_relaxed);
  }
  job->missing = job->inputs.size();
  job->vectors.resize(job->inputs.size());
  mail_.post(std::move(job));
}

Result<std::vector<Token>> EmbedLoop::make_input(const pb::Embed& work, int index) const {
  std::vector<Token> tokens;
  if (work.texts_size() > 0) {
    tokens = model_.tokenize(work.texts(index), true);
  } else {
    const pb::TokenList& list = work.token_lists(index);
    tokens.assign(list.tokens().begin(), list.tokens().end());
    const auto is_known = [&](Token token) { return token >= 0 && token < model_.vocabulary_size(); };
    if (!std::all_of(tokens.begin(), tokens.end(), is_known)) {
      return invalid("input holds a token that the model does not have");
    }
  }
  // A vocabulary that adds nothing of its own makes no tokens of an empty text.
  if (tokens.empty()) return invalid("input content cannot be empty");
  const auto asked = static_cast<int>(std::min<std::uint32_t>(work.context_length(), 1u << 30));
  const int most = asked > 0 ? std::min(asked, embedder_.context_length()) : embedder_.context_length();
  if (tokens.size() > static_cast<std::size_t>(most)) {
    if (!work.truncate()) return invalid("the input length exceeds the context length");
    embedder_.truncate(tokens, most);
  }
  return tokens;
}

// ---- the computing thread

void EmbedLoop::compute() {
  std::vector<Mail> received;
  while (mail_.drain(received, packer_.empty())) {
    for (Mail& item : received) receive(item);
    if (const auto batch = packer_.next(); !batch.empty()) compute_batch(batch);
  }
}

void EmbedLoop::receive(Mail& mail) {
  if (auto* posted = std::get_if<std::unique_ptr<Job>>(&mail)) {
    const RequestId request = (*posted)->request;
    std::vector<int> sizes;
    for (const auto& input : (*posted)->inputs) sizes.push_back(static_cast<int>(input.size()));
    jobs_.emplace(request, std::move(*posted));
    packer_.add(request, std::move(sizes));
    return;
  }
  const RequestId request = std::get<Canceled>(mail).request;
  if (jobs_.erase(request) == 0) return;  // it has been answered already
  packer_.remove(request);
  pb::FromRunner frame;
  frame.mutable_finished()->set_request(request.value);
  frame.mutable_finished()->set_reason(pb::Finished::CANCELED);
  answer(frame);
}

void EmbedLoop::compute_batch(const std::vector<EmbedPacker::Picked>& batch) {
  const TimePoint now = Clock::now();
  std::vector<Embedder::Input> inputs;
  for (const auto& [request, input] : batch) {
    Job& job = *jobs_.at(request);
    if (job.started == TimePoint{}) job.started = now;
    inputs.emplace_back(job.inputs[input]);
  }
  auto vectors = embedder_.compute(inputs);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (vectors) {
      take(batch[i], (*vectors)[i]);
    } else if (jobs_.erase(batch[i].request) > 0) {
      packer_.remove(batch[i].request);
      fail(batch[i].request, vectors.error());
    }
  }
}

void EmbedLoop::take(const EmbedPacker::Picked& picked, const std::vector<float>& vector) {
  const auto found = jobs_.find(picked.request);
  Job& job = *found->second;
  job.vectors[picked.input] = to_bytes(vector);
  job.inputs[picked.input] = {};
  if (--job.missing > 0) return;
  pb::FromRunner frame;
  pb::Embedded& embedded = *frame.mutable_embedded();
  embedded.set_request(job.request.value);
  for (std::string& bytes : job.vectors) embedded.add_vectors(std::move(bytes));
  embedded.set_prompt_tokens(static_cast<std::uint32_t>(job.tokens));
  using std::chrono::nanoseconds;
  const auto taken = std::chrono::duration_cast<nanoseconds>(Clock::now() - job.started).count();
  embedded.set_compute_ns(static_cast<std::uint64_t>(taken));
  jobs_.erase(found);
  answer(frame);
}

void EmbedLoop::fail(RequestId request, const Error& error) {
  pb::FromRunner frame;
  frame.mutable_failed()->set_request(request.value);
  frame.mutable_failed()->set_kind(error.code == ErrorCode::kInvalidArgument ? pb::Failed::INVALID
                                                                             : pb::Failed::INTERNAL);
  frame.mutable_failed()->set_message(error.message);
  answer(frame);
}

// The last frame of a request.
void EmbedLoop::answer(const pb::FromRunner& frame) {
  channel_.write(frame);
  running_.fetch_sub(1, std::memory_order_relaxed);
}

pb::Health EmbedLoop::health() const {
  pb::Health health;
  health.set_progress(embedder_.progress() + tokenized_.load(std::memory_order_relaxed));
  health.set_running(running_.load(std::memory_order_relaxed));
  return health;
}

}  // namespace drover
