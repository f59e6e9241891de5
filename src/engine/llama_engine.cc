#include "engine/llama_engine.h"

#include <llama.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>

#include "base/check.h"
#include "common.h"
#include "engine/context_memory.h"
#include "engine/engine_log.h"

namespace drover {
namespace {

// llama.cpp's LLAMA_MAX_SEQ: sequence ids of a unified KV cache stay below it.
constexpr int kSequencesMax = 256;
constexpr int kCellsMultiple = 256;
// A sequence that holds a part of another one while it is saved or restored. llama.cpp only saves sequences below
// n_seq_max, so it is the first one.
constexpr llama_seq_id kSpareSequence = 0;

// A step with fewer multiplications is computed on one thread, in less than a millisecond. More threads would lose the
// gain by waiting for each other, and take processors from the rest of the server.
constexpr std::uint64_t kWorkToShare = 8'000'000;

ggml_type cache_type(const std::string& name) {
  if (name == "q8_0") return GGML_TYPE_Q8_0;
  if (name == "q4_0") return GGML_TYPE_Q4_0;
  if (name == "f32") return GGML_TYPE_F32;
  return GGML_TYPE_F16;
}

llama_context_params context_params(const LlamaModel& model, const ContextOptions& options) {
  llama_context_params params = llama_context_default_params();
  // llama.cpp rounds up to this itself, but only after it has limited the step to the number given here.
  params.n_ctx = static_cast<std::uint32_t>((options.cells + kCellsMultiple - 1) / kCellsMultiple * kCellsMultiple);
  // One step is one ubatch: a canceled prompt frees its slot within a step, and an aborted step leaves no cells behind.
  params.n_batch = params.n_ubatch = static_cast<std::uint32_t>(options.step_tokens_max);
  params.n_seq_max = static_cast<std::uint32_t>(options.seqs);
  params.n_outputs_max = static_cast<std::uint32_t>(options.seqs);
  params.flash_attn_type = static_cast<llama_flash_attn_type>(options.flash_attention);
  params.type_k = params.type_v = cache_type(options.kv_cache_type);
  params.kv_unified = true;
  // The cache of the sliding window is as large as the rest, so that cells behind the window can be shared and reused
  // like those of plain attention. See also probe_memory().
  params.swa_full = llama_model_n_swa(model.get()) > 0;
  params.no_perf = true;
  return params;
}

}  // namespace

// Storage for llama_batch, sized once.
struct LlamaEngine::Batch {
  // `holders`: sequences that hold a row's cell.
  Batch(std::size_t size, int holders)
      : tokens(size), positions(size), counts(size, holders), seqs(2 * size), seq_lists(size), outputs(size) {
    for (std::size_t i = 0; i < size; ++i) seq_lists[i] = &seqs[2 * i];
  }
  std::vector<llama_token> tokens;
  std::vector<llama_pos> positions;
  std::vector<std::int32_t> counts;
  std::vector<llama_seq_id> seqs;  // two for each row
  std::vector<llama_seq_id*> seq_lists;
  std::vector<std::int8_t> outputs;
};

Result<std::unique_ptr<LlamaEngine>> LlamaEngine::create(const LlamaModel& model, const ContextOptions& options) {
  std::unique_ptr<LlamaEngine> engine(new LlamaEngine);
  try {
    engine->context_ = llama_init_from_model(model.get(), context_params(model, options));
  } catch (const std::exception& error) {
    return Error{ErrorCode::kNoSpace, std::string("unable to create context: ") + error.what()};
  }
  if (engine->context_ == nullptr) return Error{ErrorCode::kNoSpace, "unable to create context: out of memory"};
  if (!model.adapters().empty()) {
    std::vector<llama_adapter_lora*> adapters(model.adapters().begin(), model.adapters().end());
    std::vector<float> scales(adapters.size(), 1.0f);
    if (llama_set_adapters_lora(engine->context_, adapters.data(), adapters.size(), scales.data()) != 0) {
      return internal("unable to apply the adapter");
    }
  }
  engine->threads_ = std::make_unique<ComputeThreads>(engine->context_, options.threads);
  engine->work_of_row_ = llama_model_n_params(model.get());
  if (auto probed = engine->probe_memory(model, options); !probed) return std::move(probed).error();
  engine->batch_ =
      std::make_unique<Batch>(static_cast<std::size_t>(options.step_tokens_max), engine->shadow_ > 0 ? 2 : 1);
  llama_set_abort_callback(engine->context_, on_node_computed, engine.get());
  return engine;
}

Result<void> LlamaEngine::probe_memory(const LlamaModel& model, const ContextOptions& options) {
  if (llama_get_memory(context_) == nullptr)
    return internal("the model keeps no state of a sequence, so it cannot generate");
  // Decodes two tokens, which also warms up the model, and clears the memory.
  const common_context_seq_rm_type removal = common_context_can_seq_rm(context_);
  if (removal == COMMON_CONTEXT_SEQ_RM_TYPE_NO) return internal("the model cannot compute a first step");
  const bool whole = removal != COMMON_CONTEXT_SEQ_RM_TYPE_PART || model.is_recurrent();
  limits_.memory = whole ? MemoryKind::kWhole : MemoryKind::kShared;
  limits_.cells = static_cast<int>(llama_n_ctx(context_));
  limits_.seqs = whole ? options.seqs : kSequencesMax;
  // llama.cpp reuses a cell behind the window of the only sequence that holds it, even while other cells are free. A
  // prefix that ends there could then be neither shared nor continued. It does not reuse a cell that two sequences
  // hold, so each sequence gets a shadow sequence that holds the same cells.
  if (!whole && llama_model_n_swa(model.get()) > 0) {
    shadow_ = kSequencesMax / 2;
    limits_.seqs = kSequencesMax / 2;
  }
  limits_.step_tokens_max = std::min(options.step_tokens_max, static_cast<int>(llama_n_batch(context_)));
  // llama.cpp does not save cells behind the window of a sequence's end.
  if (whole || shadow_ > 0) return {};
  limits_.saved_cells = limits_.cells;
  first_ = kSpareSequence + 1;
  limits_.seqs = kSequencesMax - first_;
  return {};
}

bool LlamaEngine::on_node_computed(void* engine) {
  auto& self = *static_cast<LlamaEngine*>(engine);
  self.progress_.fetch_add(1, std::memory_order_relaxed);
  const bool abort = self.abort_.load(std::memory_order_relaxed);
  if (abort) expect_engine_errors(true);  // llama.cpp logs the requested abort as an error; suppress that
  return abort;
}

LlamaEngine::~LlamaEngine() {
  if (context_ != nullptr) llama_free(context_);
}

bool LlamaEngine::apply(std::span<const MemoryOperation> operations) {
  bool complete = true;
  for (const MemoryOperation& operation : operations) {
    switch (operation.kind) {
      case MemoryOperation::Kind::kCopy:
        copy(operation);
        break;
      case MemoryOperation::Kind::kRemove: {
        const bool removed = remove(operation);
        DROVER_CHECK(removed);
        break;
      }
      case MemoryOperation::Kind::kSave:
        save(operation);
        break;
      case MemoryOperation::Kind::kRestore:
        complete = restore(operation) && complete;
        break;
      case MemoryOperation::Kind::kForget:
        saved_.erase(operation.piece);
        break;
    }
  }
  return complete;
}

void LlamaEngine::save(const MemoryOperation& operation) {
  llama_memory_t memory = llama_get_memory(context_);
  Saved saved;
  llama_memory_seq_cp(memory, operation.from + first_, kSpareSequence, operation.begin, operation.end);
  try {
    saved.size = llama_state_seq_get_size(context_, kSpareSequence);
    saved.state = std::make_unique_for_overwrite<std::uint8_t[]>(saved.size);
    saved.size = llama_state_seq_get_data(context_, saved.state.get(), saved.size, kSpareSequence);
  } catch (const std::exception& error) {
    spdlog::warn("a prefix could not be saved: {}", error.what());
    saved = {};
  }
  llama_memory_seq_rm(memory, kSpareSequence, -1, -1);
  saved_[operation.piece] = std::move(saved);
}

bool LlamaEngine::restore(const MemoryOperation& operation) {
  const auto found = saved_.find(operation.piece);
  if (found == saved_.end() || found->second.size == 0) return false;
  llama_memory_t memory = llama_get_memory(context_);
  const auto& [state, size] = found->second;
  const bool restored = llama_state_seq_set_data(context_, state.get(), size, kSpareSequence) == size;
  if (restored) llama_memory_seq_cp(memory, kSpareSequence, operation.to + first_, operation.begin, operation.end);
  llama_memory_seq_rm(memory, kSpareSequence, -1, -1);
  return restored;
}

void LlamaEngine::copy(const MemoryOperation& operation) {
  llama_memory_t memory = llama_get_memory(context_);
  llama_memory_seq_cp(memory, operation.from + first_, operation.to + first_, operation.begin, operation.end);
  if (shadow_ > 0) llama_memory_seq_cp(memory, operation.from, operation.to + shadow_, operation.begin, operation.end);
}

bool LlamaEngine::remove(const MemoryOperation& operation) {
  llama_memory_t memory = llama_get_memory(context_);
  const Position begin = operation.begin > 0 ? operation.begin : -1;
  const bool removed = llama_memory_seq_rm(memory, operation.from + first_, begin, operation.end);
  return removed && (shadow_ == 0 || llama_memory_seq_rm(memory, operation.from + shadow_, begin, operation.end));
}

DecodeStatus LlamaEngine::decode(std::span<const Row> rows) {
  DROVER_CHECK(!rows.empty() && static_cast<int>(rows.size()) <= limits_.step_tokens_max);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    batch_->tokens[i] = rows[i].token;
    batch_->positions[i] = rows[i].position;
    batch_->seqs[2 * i] = rows[i].seq + first_;
    batch_->seqs[2 * i + 1] = rows[i].seq + shadow_;
    batch_->outputs[i] = rows[i].output ? 1 : 0;
  }
  threads_->begin(rows.size() * work_of_row_ < kWorkToShare ? 1 : threads_->max());
  llama_batch batch = {static_cast<std::int32_t>(rows.size()),
                       batch_->tokens.data(),
                       nullptr,
                       batch_->positions.data(),
                       batch_->counts.data(),
                       batch_->seq_lists.data(),
                       batch_->outputs.data()};
  int status = -1;
  try {
    status = llama_decode(context_, batch);
    if (status == 0) llama_synchronize(context_);
  } catch (const std::exception& error) {
    spdlog::error("a step failed: {}", error.what());
  }
  threads_->end();
  expect_engine_errors(false);
  if (status != 0 && shadow_ > 0) drop_shadow_of(rows);
  progress_.fetch_add(1, std::memory_order_relaxed);
  switch (status) {
    case 0:
      return DecodeStatus::kDone;
    case 1:
      return DecodeStatus::kNoRoom;
    case 2:
      return DecodeStatus::kAborted;
    default:
      return DecodeStatus::kFailed;
  }
}

// llama.cpp removes the cells of an aborted step only from the first sequence that holds them.
void LlamaEngine::drop_shadow_of(std::span<const Row> rows) {
  SeqId last = -1;
  for (const Row& row : rows) {
    if (row.seq == last) continue;  // the rows of a sequence are adjacent and in order of positions
    last = row.seq;
    llama_memory_seq_rm(llama_get_memory(context_), row.seq + shadow_, row.position > 0 ? row.position : -1, -1);
  }
}

const float* LlamaEngine::logits(int index) {
  return llama_get_logits_ith(context_, index);
}

std::uint64_t LlamaEngine::memory_bytes() const {
  const ContextMemory memory = context_memory(context_);
  const std::uint64_t saved =
      memory.kv_bytes * static_cast<std::uint64_t>(limits_.saved_cells) / static_cast<std::uint64_t>(limits_.cells);
  return memory.total_bytes + saved;
}

std::uint64_t LlamaEngine::device_bytes() const {
  return context_memory(context_).device_bytes;
}

}  // namespace drover
