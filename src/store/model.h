// A model of the store, resolved: everything a request needs to know about it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/digest.h"
#include "store/gguf.h"
#include "store/model_name.h"

namespace drover {

// What a model can do, in the order in which lists show it.
enum class Capability { kCompletion, kEmbedding, kVision, kAudio, kTools, kInsert, kThinking };
std::string_view to_string(Capability capability);  // "completion", "tools" …

// The config layer, as far as Ollama and Drover use it. Unknown fields of a config are kept when a model is derived.
struct ModelConfig {
  std::string format;  // "gguf"
  std::string family;  // "llama"
  std::vector<std::string> families;
  std::string parameter_size;  // "3.2B"
  std::string quantization;    // "Q4_K_M"
  std::string renderer;        // name of a hand-written prompt renderer; "" for most models
  std::string parser;          // name of a hand-written output parser; "" for most models
  std::string requires_version;
  nlohmann::ordered_json json = nlohmann::ordered_json::object();  // the whole config as it was read

  // Error: kInvalidArgument if it is no JSON object or a field has the wrong type.
  static Result<ModelConfig> parse(std::string_view json);
  // As Ollama's ConfigV2, with the given layers as rootfs.
  std::string to_json(const std::vector<Digest>& layers) const;
};

// An immutable value, shared by whoever looked the model up; any thread may read it. It describes the model as it was
// when it was looked up: the files it names may be deleted later (an open file stays readable).
struct Model {
  Model(ModelName model_name, ModelConfig model_config)
      : name(std::move(model_name)), config(std::move(model_config)) {}

  ModelName name;          // with the case that the store has
  Digest digest;           // of the manifest file: what clients are shown as the model's digest
  std::uint64_t size = 0;  // all layers and the config, bytes
  std::chrono::system_clock::time_point modified_at;

  ModelConfig config;
  std::string parent_model;          // the name or path it was made from, if known
  std::filesystem::path model_path;  // the GGUF, or the first of those that it is split into
  Digest model_digest;
  std::vector<std::filesystem::path> shard_paths;  // the others, in order
  std::vector<std::filesystem::path> adapter_paths;
  std::vector<std::filesystem::path> projector_paths;
  std::optional<std::string> template_text;  // TEMPLATE, in Go's text/template; unset: the GGUF's jinja
  bool template_void = false;                // TEMPLATE is a placeholder: a renderer or parser goes before it
  // The renderer whose template from the engine (store/renderers.h) is to be used; "": the model has one of its own.
  std::string family_renderer;
  std::string system;
  nlohmann::ordered_json parameters = nlohmann::ordered_json::object();  // checked: see check_options
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();     // of {"role", "content", …}
  std::vector<std::string> licenses;

  std::shared_ptr<const Gguf> gguf;  // with its small arrays; never null
  std::vector<Capability> capabilities;

  bool can(Capability capability) const;
};

// What `show` prints: the Modelfile that would make this model again, with Ollama's heading, and its parameters, one a
// line ("stop                           "<end>"").
std::string show_modelfile(const Model& model);
std::string show_parameters(const Model& model);
// The model's GGUF, from all files that it is split into, with the arrays that are wanted. Errors: as Gguf::read.
Result<Gguf> read_gguf(const Model& model, GgufArrays arrays);
// As /api/show's "tensors": [{"name", "type", "shape"}].
nlohmann::ordered_json show_tensors(const Gguf& gguf);

}  // namespace drover
