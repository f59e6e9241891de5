// The built-in model, for the tests of this folder: loaded once per process.
#pragma once

#include "base/check.h"
#include "engine/engine_library.h"
#include "engine/grammar_cache.h"
#include "engine/llama_model.h"

namespace drover {

inline const LlamaModel& cria() {
  static const std::unique_ptr<LlamaModel> model = [] {
    DROVER_CHECK(initialize_engine().ok());
    auto loaded = LlamaModel::load({.path = DROVER_CRIA, .adapter_paths = {}, .on_progress = {}});
    return std::move(*loaded);
  }();
  return *model;
}

}  // namespace drover
