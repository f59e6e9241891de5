#include "engine/tiny_model.h"

#include <ggml.h>
#include <gguf.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <random>
#include <span>
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

std::uint32_t layers_of(TinyKind kind) {
  return kind == TinyKind::kSlidingWindow ? 4 : 2;
}

std::unique_ptr<gguf_context, FreeGguf> metadata_of(TinyKind kind) {
  std::unique_ptr<gguf_context, FreeGguf> gguf(gguf_init_empty());
  const std::string name = architecture(kind);
  const auto number = [&](const char* key, std::uint32_t value) {
    gguf_set_val_u32(gguf.get(), (name + "." + key).c_str(), value);
  };
  gguf_set_val_str(gguf.get(), "general.architecture", name.c_str());
  const std::uint32_t layers = layers_of(kind);
  number("vocab_size", kVocabulary);
  number("context_length", 4096);
  number("embedding_length", kWidth);
  number("block_count", layers);
  number("feed_forward_length", 128);
  if (kind == TinyKind::kHybrid || kind == TinyKind::kConvolution) {
    const std::vector<std::uint32_t> heads = {kHeads, 0};  // a layer without heads is recurrent
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

// A tensor's name and shape: a vector, or a matrix with `columns` values per row.
struct Shape {
  std::string name;
  std::int64_t columns = 0;
  std::int64_t rows = 0;  // 0: a vector
};

constexpr std::int64_t kHead = kWidth / kHeads;
constexpr std::int64_t kForward = 128;
constexpr std::int64_t kInner = 2 * kWidth;  // of a state
constexpr std::int64_t kState = 16;
constexpr std::int64_t kConvolved = 4;  // tokens
constexpr std::int64_t kRank = 4;
constexpr std::int64_t kShort = 3;  // tokens of a short convolution

const std::vector<Shape> kAttention = {
    {"attn_q.weight", kWidth, kWidth},
    {"attn_k.weight", kWidth, kWidth},
    {"attn_v.weight", kWidth, kWidth},
    {"attn_output.weight", kWidth, kWidth},
};
const std::vector<Shape> kHeadNorms = {{"attn_q_norm.weight", kHead}, {"attn_k_norm.weight", kHead}};
const std::vector<Shape> kFeedForward = {
    {"ffn_norm.weight", kWidth},
    {"ffn_gate.weight", kWidth, kForward},
    {"ffn_up.weight", kWidth, kForward},
    {"ffn_down.weight", kForward, kWidth},
};
const std::vector<Shape> kMamba = {
    {"ssm_in.weight", kWidth, 2 * kInner},
    {"ssm_x.weight", kInner, kRank + 2 * kState},
    {"ssm_dt.weight", kRank, kInner},
    {"ssm_dt.bias", kInner},
    {"ssm_out.weight", kInner, kWidth},
    {"ssm_conv1d.weight", kConvolved, kInner},
    {"ssm_conv1d.bias", kInner},
    {"ssm_a", kState, kInner},
    {"ssm_d", kInner},
};
const std::vector<Shape> kMamba2 = {
    {"ssm_norm.weight", kInner, 1},
    {"ssm_in.weight", kWidth, 2 * kInner + 2 * kState + kRank},
    {"ssm_out.weight", kInner, kWidth},
    {"ssm_conv1d.weight", kConvolved, kInner + 2 * kState},
    {"ssm_conv1d.bias", kInner + 2 * kState},
    {"ssm_a", 1, kRank},
    {"ssm_d", 1, kRank},
    {"ssm_dt.bias", kRank},
};
const std::vector<Shape> kMambaNorms = {
    {"ssm_dt_norm.weight", kRank}, {"ssm_b_norm.weight", kState}, {"ssm_c_norm.weight", kState}};
const std::vector<Shape> kShortConvolution = {
    {"shortconv.in_proj.weight", kWidth, 3 * kWidth},
    {"shortconv.conv.weight", kShort, kWidth},
    {"shortconv.out_proj.weight", kWidth, kWidth},
};

// The parts of a layer, in addition to the norm at its start.
std::vector<std::vector<Shape>> parts_of(TinyKind kind, std::uint32_t layer) {
  switch (kind) {
    case TinyKind::kSlidingWindow:
      return {kHeadNorms,
              kAttention,
              {{"post_attention_norm.weight", kWidth}},
              kFeedForward,
              {{"post_ffw_norm.weight", kWidth}}};
    case TinyKind::kRecurrent:
      return {kMamba};
    case TinyKind::kRecurrent2:
      return {kMamba2};
    case TinyKind::kHybrid:
      if (layer == 0) return {kAttention, kFeedForward};
      return {kMambaNorms, kMamba, kFeedForward};
    case TinyKind::kConvolution:
      if (layer == 0) return {kHeadNorms, kAttention, kFeedForward};
      return {kShortConvolution, kFeedForward};
  }
  return {};
}

std::vector<Shape> shapes_of(TinyKind kind) {
  const char* last_norm = kind == TinyKind::kConvolution ? "token_embd_norm.weight" : "output_norm.weight";
  std::vector<Shape> shapes = {
      {"token_embd.weight", kWidth, kVocabulary}, {last_norm, kWidth}, {"output.weight", kWidth, kVocabulary}};
  for (std::uint32_t layer = 0; layer < layers_of(kind); ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    shapes.push_back({block + "attn_norm.weight", kWidth});
    for (const auto& part : parts_of(kind, layer)) {
      for (const Shape& shape : part) shapes.push_back({block + shape.name, shape.columns, shape.rows});
    }
  }
  return shapes;
}

// The tensor's name decides the weights. They are large enough that earlier tokens decide the next one.
void set_weights(ggml_tensor* tensor) {
  const std::string_view name = tensor->name;
  std::mt19937 random(static_cast<std::uint32_t>(std::hash<std::string_view>()(name)));
  const bool norm = name.find("norm") != std::string_view::npos;
  const bool decay = name.find("ssm_a") != std::string_view::npos;
  std::normal_distribution<float> normal(norm ? 1.0f : 0.0f, norm ? 0.2f : 0.25f);
  const std::span values(ggml_get_data_f32(tensor), static_cast<std::size_t>(ggml_nelements(tensor)));
  // A state decays; otherwise it would grow without bound.
  for (float& value : values) value = decay ? -0.05f - std::abs(normal(random)) : normal(random);
}

bool write_model(TinyKind kind, const std::string& path) {
  const std::vector<Shape> shapes = shapes_of(kind);
  std::size_t bytes = shapes.size() * ggml_tensor_overhead() + 4096;
  for (const Shape& shape : shapes) {
    bytes += static_cast<std::size_t>(shape.columns * std::max<std::int64_t>(shape.rows, 1)) * sizeof(float) + 64;
  }
  const std::unique_ptr<ggml_context, void (*)(ggml_context*)> tensors(ggml_init({bytes, nullptr, false}), ggml_free);
  const auto metadata = metadata_of(kind);
  for (const auto& [name, columns, rows] : shapes) {
    ggml_tensor* tensor = rows > 0 ? ggml_new_tensor_2d(tensors.get(), GGML_TYPE_F32, columns, rows)
                                   : ggml_new_tensor_1d(tensors.get(), GGML_TYPE_F32, columns);
    ggml_set_name(tensor, name.c_str());
    set_weights(tensor);
    gguf_add_tensor(metadata.get(), tensor);
  }
  return gguf_write_to_file(metadata.get(), path.c_str(), false);
}

}  // namespace

Result<std::unique_ptr<LlamaModel>> make_tiny_model(TinyKind kind) {
  DROVER_CHECK(initialize_engine().ok());
  const std::filesystem::path path = std::filesystem::temp_directory_path() /
                                     ("drover-tiny-" + std::to_string(::getpid()) + "-" + architecture(kind) + ".gguf");
  if (!write_model(kind, path.string())) return internal("the file of the model cannot be written");
  auto loaded = LlamaModel::load({.path = path.string(), .adapter_paths = {}, .use_mmap = false, .on_progress = {}});
  std::filesystem::remove(path);
  return loaded;
}

}  // namespace drover
