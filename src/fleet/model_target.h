// What a request wants loaded.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/settings.h"

namespace drover {

// What a runner has to load. Two targets with the same key are served by one runner.
struct ModelTarget {
  std::string key;              // of weights and adapters, e.g. their digests
  std::string name;             // for people: the name that the request used
  std::string manifest_digest;  // of the model with that name
  std::string model_path;
  std::vector<std::string> shard_paths;  // the other files of a model that is split
  std::vector<std::string> adapter_paths;
  std::string family_template;  // of the engine's, for a model whose file has none; part of the key
  int trained_context = 0;      // tokens; 0: unknown
  std::function<std::uint64_t(int context_length)> estimate;  // memory in bytes for a context of so many tokens
  // Wishes for the load; they are heeded when this request is the one that loads the model.
  int context_length = 0;  // 0: the server's default
  int batch = 0;
  int threads = 0;
  int gpu_layers = -1;
  int main_gpu = 0;
  bool use_mmap = true;
  bool embedding = false;  // for vectors instead of text: a runner of its own kind, and part of the key
};

// Tokens that a request may hold where neither it nor its model says how many.
inline int context_default(const Settings& settings) {
  constexpr int kTokens = 4096;
  return settings.context_length > 0 ? settings.context_length : kTokens;
}

}  // namespace drover
