#include "engine/embedder.h"

#include <llama.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>
#include <optional>
#include <string>

#include "base/check.h"
#include "engine/context_memory.h"

namespace drover {
namespace {

// Most inputs of a batch. More would not be faster: the limit on tokens is reached long before.
constexpr int kBatchInputs = 64;
// The same for a model with a state per sequence, which keeps one for each input of a batch.
constexpr int kBatchInputsWithState = 8;

std::optional<std::string> metadata(const LlamaModel& model, const std::string& key_below_architecture) {
  char text[128];
  if (llama_model_meta_val_str(model.get(), "general.architecture", text, sizeof text) < 0) return std::nullopt;
  const std::string key = std::string(text) + "." + key_below_architecture;
  if (llama_model_meta_val_str(model.get(), key.c_str(), text, sizeof text) < 0) return std::nullopt;
  return std::string(text);
}

// There is a function of the same name.
using PoolingType = enum llama_pooling_type;

// How a model's outputs become one vector.
struct Pooling {
  bool causal = true;
  PoolingType type = LLAMA_POOLING_TYPE_LAST;

  // An input can be computed in several steps only if the last token alone gives the vector.
  bool in_pieces() const { return causal && type == LLAMA_POOLING_TYPE_LAST; }
};

Pooling pooling_of(const LlamaModel& model) {
  Pooling pooling;
  pooling.causal = metadata(model, "attention.causal").value_or("true") != "false";
  pooling.type = pooling.causal ? LLAMA_POOLING_TYPE_LAST : LLAMA_POOLING_TYPE_MEAN;
  const std::optional<std::string> named = metadata(model, "pooling_type");
  for (const PoolingType type :
       {LLAMA_POOLING_TYPE_MEAN, LLAMA_POOLING_TYPE_CLS, LLAMA_POOLING_TYPE_LAST, LLAMA_POOLING_TYPE_RANK}) {
    if (named == std::to_string(static_cast<int>(type))) pooling.type = type;
  }
  return pooling;
}

llama_context_params context_params(const LlamaModel& model, const EmbedderOptions& options, const Pooling& pooling) {
  llama_context_params params = llama_context_default_params();
  const int largest = std::max(options.context_length, options.batch_tokens);
  params.n_ctx = static_cast<std::uint32_t>(largest);
  params.n_batch = params.n_ubatch = static_cast<std::uint32_t>(pooling.in_pieces() ? options.batch_tokens : largest);
  const bool has_state = llama_model_is_recurrent(model.get()) || llama_model_is_hybrid(model.get());
  params.n_seq_max = has_state ? kBatchInputsWithState : kBatchInputs;
  params.flash_attn_type = static_cast<llama_flash_attn_type>(options.flash_attention);
  params.pooling_type = pooling.type;
  params.embeddings = true;
  params.kv_unified = true;
  params.swa_full = llama_model_n_swa(model.get()) > 0;
  params.no_perf = true;
  return params;
}

Result<void> apply_adapters(const LlamaModel& model, llama_context* context) {
  if (model.adapters().empty()) return {};
  std::vector<llama_adapter_lora*> adapters(model.adapters().begin(), model.adapters().end());
  std::vector<float> scales(adapters.size(), 1.0f);
  if (llama_set_adapters_lora(context, adapters.data(), adapters.size(), scales.data()) != 0) {
    return internal("unable to apply the adapter");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Embedder>> Embedder::create(const LlamaModel& model, const EmbedderOptions& options) {
  const Pooling pooling = pooling_of(model);
  const bool two_parts = llama_model_has_encoder(model.get()) && llama_model_has_decoder(model.get());
  if (pooling.type == LLAMA_POOLING_TYPE_RANK || two_parts) return invalid("the model does not support embeddings");
  std::unique_ptr<Embedder> embedder(new Embedder);
  const llama_context_params params = context_params(model, options, pooling);
  try {
    embedder->context_ = llama_init_from_model(model.get(), params);
  } catch (const std::exception& error) {
    return Error{ErrorCode::kNoSpace, std::string("unable to create context: ") + error.what()};
  }
  if (embedder->context_ == nullptr) return Error{ErrorCode::kNoSpace, "unable to create context: out of memory"};
  if (auto applied = apply_adapters(model, embedder->context_); !applied) return std::move(applied).error();
  embedder->model_ = &model;
  embedder->batch_tokens_ = options.batch_tokens;
  embedder->batch_inputs_ = static_cast<int>(params.n_seq_max);
  // The context may have less than requested.
  embedder->step_tokens_ = static_cast<int>(llama_n_ubatch(embedder->context_));
  embedder->context_length_ = options.context_length;
  if (llama_get_memory(embedder->context_) == nullptr || !pooling.in_pieces()) {
    embedder->context_length_ = std::min(options.context_length, embedder->step_tokens_);
  }
  embedder->threads_ = std::make_unique<ComputeThreads>(embedder->context_, options.threads);
  embedder->dimensions_ = llama_model_n_embd_out(model.get());
  llama_set_abort_callback(embedder->context_, on_node_computed, embedder.get());
  const Token first = 0;
  const Input warm_up(&first, 1);
  if (auto computed = embedder->compute(std::span(&warm_up, 1)); !computed) return std::move(computed).error();
  return embedder;
}

Embedder::~Embedder() {
  if (context_ != nullptr) llama_free(context_);
}

bool Embedder::on_node_computed(void* embedder) {
  static_cast<Embedder*>(embedder)->progress_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

void Embedder::truncate(std::vector<Token>& tokens, int tokens_max) const {
  const auto most = static_cast<std::size_t>(std::max(tokens_max, 1));
  if (tokens.size() <= most) return;
  const llama_vocab* vocabulary = model_->vocabulary();
  const bool has_end = llama_vocab_get_add_eos(vocabulary) || llama_vocab_get_add_sep(vocabulary);
  if (has_end) tokens[most - 1] = tokens.back();
  tokens.resize(most);
}

Result<std::vector<std::vector<float>>> Embedder::compute(std::span<const Input> inputs) {
  DROVER_CHECK(!inputs.empty() && static_cast<int>(inputs.size()) <= batch_inputs_);
  threads_->begin(threads_->max());
  // Each call starts with an empty memory; encoders have none.
  if (llama_memory_t memory = llama_get_memory(context_); memory != nullptr) llama_memory_clear(memory, false);
  std::vector<Row> rows;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    DROVER_CHECK(!inputs[i].empty() && static_cast<int>(inputs[i].size()) <= context_length_);
    for (std::size_t k = 0; k < inputs[i].size(); ++k) {
      rows.push_back({inputs[i][k], static_cast<Position>(k), static_cast<SeqId>(i), true});
    }
  }
  DROVER_CHECK(inputs.size() == 1 || static_cast<int>(rows.size()) <= step_tokens_);
  const Error failed = internal("an error was encountered while running the model");
  bool computed = true;
  for (std::span<const Row> rest = rows; computed && !rest.empty();) {
    const std::size_t count = std::min(rest.size(), static_cast<std::size_t>(step_tokens_));
    computed = decode(rest.first(count));
    rest = rest.subspan(count);
  }
  threads_->end();
  if (!computed) return failed;
  std::vector<std::vector<float>> vectors;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const float* vector = llama_get_embeddings_seq(context_, static_cast<llama_seq_id>(i));
    if (vector == nullptr) return failed;
    vectors.emplace_back(vector, vector + dimensions_);
  }
  return vectors;
}

bool Embedder::decode(std::span<const Row> rows) {
  std::vector<llama_token> tokens;
  std::vector<llama_pos> positions;
  std::vector<llama_seq_id> seqs;
  std::vector<llama_seq_id*> seq_lists;
  std::vector<std::int32_t> counts(rows.size(), 1);
  std::vector<std::int8_t> outputs(rows.size(), 1);
  seqs.reserve(rows.size());
  for (const Row& row : rows) {
    tokens.push_back(row.token);
    positions.push_back(row.position);
    seqs.push_back(row.seq);
    seq_lists.push_back(&seqs.back());
  }
  const llama_batch batch = {static_cast<std::int32_t>(rows.size()),
                             tokens.data(),
                             nullptr,
                             positions.data(),
                             counts.data(),
                             seq_lists.data(),
                             outputs.data()};
  int status = -1;
  try {
    status = llama_decode(context_, batch);
    if (status == 0) llama_synchronize(context_);
  } catch (const std::exception& error) {
    spdlog::error("a batch of inputs failed: {}", error.what());
  }
  progress_.fetch_add(1, std::memory_order_relaxed);
  return status == 0;
}

std::uint64_t Embedder::memory_bytes() const {
  return context_memory(context_).total_bytes;
}

std::uint64_t Embedder::device_bytes() const {
  return context_memory(context_).device_bytes;
}

}  // namespace drover
