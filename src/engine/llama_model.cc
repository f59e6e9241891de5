#include "engine/llama_model.h"

#include <llama.h>

#include <algorithm>

#include "engine/engine_log.h"

namespace drover {
namespace {

bool on_llama_progress(float fraction, void* callback) {
  return (*static_cast<const std::function<bool(float)>*>(callback))(fraction);
}

}  // namespace

Result<std::unique_ptr<LlamaModel>> LlamaModel::load(const ModelOptions& options) {
  take_last_engine_error();
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = options.gpu_layers;
  params.main_gpu = options.main_gpu;
  params.use_extra_bufts = options.packed_weights;
  params.load_mode = options.use_mmap ? LLAMA_LOAD_MODE_AUTO : LLAMA_LOAD_MODE_NONE;
  ggml_backend_dev_t no_devices[] = {nullptr};
  if (options.vocabulary_only) {
    params.vocab_only = true;
    params.devices = no_devices;
    params.load_mode = LLAMA_LOAD_MODE_NONE;
  }
  if (options.on_progress) {
    params.progress_callback = on_llama_progress;
    params.progress_callback_user_data = const_cast<std::function<bool(float)>*>(&options.on_progress);
  }
  std::unique_ptr<LlamaModel> model(new LlamaModel);
  if (options.shard_paths.empty()) {
    model->model_ = llama_model_load_from_file(options.path.c_str(), params);
  } else {
    std::vector<const char*> paths = {options.path.c_str()};
    for (const std::string& path : options.shard_paths) paths.push_back(path.c_str());
    model->model_ = llama_model_load_from_splits(paths.data(), paths.size(), params);
  }
  if (model->model_ == nullptr) {
    const std::string reason = take_last_engine_error();
    return internal("unable to load model: " + (reason.empty() ? options.path : reason));
  }
  model->vocabulary_ = llama_model_get_vocab(model->model_);
  model->vocabulary_size_ = llama_vocab_n_tokens(model->vocabulary_);
  model->infill_ = {llama_vocab_fim_pre(model->vocabulary_), llama_vocab_fim_suf(model->vocabulary_),
                    llama_vocab_fim_mid(model->vocabulary_)};
  for (const std::string& path : options.adapter_paths) {
    llama_adapter_lora* adapter = llama_adapter_lora_init(model->model_, path.c_str());
    if (adapter == nullptr) return internal("unable to load adapter: " + take_last_engine_error());
    model->adapters_.push_back(adapter);  // freed with the model
  }
  return model;
}

LlamaModel::~LlamaModel() {
  llama_model_free(model_);
}

std::vector<Token> LlamaModel::tokenize(std::string_view text, bool special) const {
  // One token per byte and a few special ones is the most there can be, and seldom needed: ask for less first.
  std::vector<Token> tokens(text.size() / 3 + 16);
  const auto run = [&] {
    return llama_tokenize(vocabulary_, text.data(), static_cast<std::int32_t>(text.size()), tokens.data(),
                          static_cast<std::int32_t>(tokens.size()), special, true);
  };
  std::int32_t count = run();
  if (count < 0) {
    tokens.resize(static_cast<std::size_t>(-count));
    count = run();
  }
  tokens.resize(static_cast<std::size_t>(std::max(count, 0)));
  return tokens;
}

void LlamaModel::append_piece(Token token, bool control, std::string& out) const {
  char buffer[64];
  const std::int32_t size = llama_token_to_piece(vocabulary_, token, buffer, sizeof buffer, 0, control);
  if (size >= 0) {
    out.append(buffer, static_cast<std::size_t>(size));
    return;
  }
  const std::size_t start = out.size();
  out.resize(start + static_cast<std::size_t>(-size));
  llama_token_to_piece(vocabulary_, token, out.data() + start, -size, 0, control);
}

bool LlamaModel::ends_generation(Token token) const {
  return llama_vocab_is_eog(vocabulary_, token);
}

std::uint64_t LlamaModel::weight_bytes() const {
  return llama_model_size(model_);
}

int LlamaModel::trained_context() const {
  return llama_model_n_ctx_train(model_);
}

bool LlamaModel::is_recurrent() const {
  return llama_model_is_recurrent(model_) || llama_model_is_hybrid(model_);
}

bool LlamaModel::can_generate() const {
  return llama_model_has_decoder(model_) && !llama_model_has_encoder(model_);
}

}  // namespace drover
