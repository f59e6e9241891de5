#include "engine/tiny_model.h"

#include <ggml-backend.h>
#include <gguf.h>
#include <llama.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <random>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "engine/engine_library.h"

namespace drover {
namespace {

constexpr std::uint32_t kVocabulary = 256;
constexpr std::uint32_t kWidth = 64;
constexpr std::uint32_t kHeads = 4;

struct FreeGguf {
  void operator()(gguf_context* gguf) const { gguf_free(gguf); }
};
struct FreeModel {
  void operator()(llama_model* model) const { llama_model_free(model); }
};

const char* architecture(TinyKind kind) {
  switch (kind) {
    case TinyKind::kSlidingWindow:
      return "gemma3";
    case TinyKind::kRecurrent:
      return "mamba";
    case TinyKind::kRecurrent2:
      return "mamba2";
    case TinyKind::kHybrid:
      return "jamba";
    case TinyKind::kConvolution:
      return "lfm2";
  }
  return "";
}

std::unique_ptr<gguf_context, FreeGguf> metadata_of(TinyKind kind) {
  std::unique_ptr<gguf_context, FreeGguf> gguf(gguf_init_empty());
  const std::string name = architecture(kind);
  const auto number = [&](const char* key, std::uint32_t value) {
    gguf_set_val_u32(gguf.get(), (name + "." + key).c_str(), value);
  };
  gguf_set_val_str(gguf.get(), "general.architecture", name.c_str());
  const std::uint32_t layers = kind == TinyKind::kSlidingWindow ? 4 : 2;
  number("vocab_size", kVocabulary);
  number("context_length", 4096);
  number("embedding_length", kWidth);
  number("block_count", layers);
  number("feed_forward_length", 128);
  if (kind == TinyKind::kHybrid || kind == TinyKind::kConvolution) {
    const std::vector<std::uint32_t> heads = {kHeads, 0};  // a layer without is recurrent
    const std::vector<std::uint32_t> all = {kHeads, kHeads};
    const auto& count = kind == TinyKind::kHybrid ? heads : all;
    gguf_set_arr_data(gguf.get(), (name + ".attention.head_count").c_str(), GGUF_TYPE_UINT32, count.data(), 2);
    gguf_set_arr_data(gguf.get(), (name + ".attention.head_count_kv").c_str(), GGUF_TYPE_UINT32, heads.data(), 2);
  } else {
    number("attention.head_count", kHeads);
    number("attention.head_count_kv", kHeads);
  }
  gguf_set_val_f32(gguf.get(), (name + ".attention.layer_norm_rms_epsilon").c_str(), 1e-5f);
  if (kind == TinyKind::kSlidingWindow) {
    number("attention.sliding_window", 16);
    number("attention.sliding_window_pattern", 2);
  }
  number("ssm.conv_kernel", 4);
  number("ssm.inner_size", 2 * kWidth);
  number("ssm.state_size", 16);
  number("ssm.time_step_rank", 4);
  number("ssm.group_count", 1);
  number("shortconv.l_cache", 3);
  gguf_set_val_str(gguf.get(), "tokenizer.ggml.model", "test");
  std::vector<std::string> texts;
  std::vector<const char*> pointers;
  for (std::uint32_t i = 0; i < kVocabulary; ++i) texts.push_back("t" + std::to_string(i));
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  const std::vector<float> scores(kVocabulary, 0.0f);
  gguf_set_arr_str(gguf.get(), "tokenizer.ggml.tokens", pointers.data(), pointers.size());
  gguf_set_arr_data(gguf.get(), "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores.data(), scores.size());
  return gguf;
}

// The weights follow from the tensor's name. Large enough that what came before decides what comes next.
void set_weights(ggml_tensor* tensor, void*) {
  const std::string_view name = tensor->name;
  std::mt19937 random(static_cast<std::uint32_t>(std::hash<std::string_view>()(name)));
  const bool norm = name.find("norm") != std::string_view::npos;
  const bool decay = name.find("ssm_a") != std::string_view::npos;
  // Optional factors of the positions' frequencies, which are 1 where a model has none.
  const bool factor = name.find("rope_freqs") != std::string_view::npos;
  std::normal_distribution<float> normal(norm || factor ? 1.0f : 0.0f, norm ? 0.2f : factor ? 0.0f : 0.25f);
  std::vector<float> values(static_cast<std::size_t>(ggml_nelements(tensor)));
  // A state decays, or it would grow without bound.
  for (float& value : values) value = decay ? -0.05f - std::abs(normal(random)) : normal(random);
  if (tensor->type == GGML_TYPE_F16) {
    std::vector<ggml_fp16_t> halves(values.size());
    ggml_fp32_to_fp16_row(values.data(), halves.data(), static_cast<std::int64_t>(values.size()));
    ggml_backend_tensor_set(tensor, halves.data(), 0, ggml_nbytes(tensor));
  } else {
    ggml_backend_tensor_set(tensor, values.data(), 0, ggml_nbytes(tensor));
  }
}

}  // namespace

Result<std::unique_ptr<LlamaModel>> make_tiny_model(TinyKind kind) {
  DROVER_CHECK(initialize_engine().ok());
  const auto metadata = metadata_of(kind);
  const std::unique_ptr<llama_model, FreeModel> made(
      llama_model_init_from_user(metadata.get(), set_weights, nullptr, llama_model_default_params()));
  if (made == nullptr) return internal("llama.cpp does not make this model");
  const std::filesystem::path path = std::filesystem::temp_directory_path() /
                                     ("drover-tiny-" + std::to_string(::getpid()) + "-" + architecture(kind) + ".gguf");
  llama_model_save_to_file(made.get(), path.c_str());
  auto loaded = LlamaModel::load({.path = path.string(), .adapter_paths = {}, .use_mmap = false, .on_progress = {}});
  std::filesystem::remove(path);
  return loaded;
}

}  // namespace drover
