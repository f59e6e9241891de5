#include "store/model.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/utf8.h"
#include "store/modelfile.h"
#include "store/untrusted_text.h"

namespace drover {
namespace {

using nlohmann::ordered_json;

// The string `key` of a config; "" if there is none.
Result<std::string> string_field(const ordered_json& json, const char* key) {
  const auto field = json.find(key);
  if (field == json.end() || field->is_null()) return std::string();
  if (!field->is_string()) return invalid(fmt::format("model config is broken: {} is not a string", key));
  return field->get<std::string>();
}

// A value as Go prints it: numbers without needless fractions, strings in quotes.
std::string quoted(const ordered_json& value) {
  return value.is_number_float() ? fmt::format("{}", value.get<double>()) : to_text(value);
}

// As quoted(), but strings bare, as a Modelfile has them.
std::string bare(const ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : quoted(value);
}

// Calls visit(name, value) for each parameter, once for each element of a list.
template <typename Visit>
void for_each_parameter(const ordered_json& parameters, Visit visit) {
  for (const auto& [name, value] : parameters.items()) {
    if (value.is_array()) {
      for (const ordered_json& element : value) visit(name, element);
    } else {
      visit(name, value);
    }
  }
}

}  // namespace

std::string_view to_string(Capability capability) {
  switch (capability) {
    case Capability::kCompletion:
      return "completion";
    case Capability::kEmbedding:
      return "embedding";
    case Capability::kVision:
      return "vision";
    case Capability::kAudio:
      return "audio";
    case Capability::kTools:
      return "tools";
    case Capability::kInsert:
      return "insert";
    case Capability::kThinking:
      return "thinking";
  }
  return "";
}

Result<ModelConfig> ModelConfig::parse(std::string_view text) {
  Result<ordered_json> json = parse_untrusted_json(text, "model config");
  if (!json) return std::move(json).error();
  if (!json->is_object()) return invalid("model config is broken: it is not a JSON object");
  ModelConfig config;
  const std::pair<const char*, std::string*> fields[] = {
      {"model_format", &config.format},       {"model_family", &config.family}, {"model_type", &config.parameter_size},
      {"file_type", &config.quantization},    {"renderer", &config.renderer},   {"parser", &config.parser},
      {"requires", &config.requires_version},
  };
  for (const auto& [key, target] : fields) {
    Result<std::string> value = string_field(*json, key);
    if (!value) return std::move(value).error();
    *target = std::move(*value);
  }
  if (const auto families = json->find("model_families"); families != json->end() && !families->is_null()) {
    if (!families->is_array()) return invalid("model config is broken: model_families is not a list");
    for (const ordered_json& family : *families) {
      if (!family.is_string()) return invalid("model config is broken: model_families is not a list of strings");
      config.families.push_back(family.get<std::string>());
    }
  }
  config.json = std::move(*json);
  return config;
}

std::string ModelConfig::to_json(const std::vector<Digest>& layers) const {
  ordered_json result = {{"model_format", format}, {"model_family", family}};
  result["model_families"] = families.empty() ? ordered_json(nullptr) : ordered_json(families);
  result["model_type"] = parameter_size;
  result["file_type"] = quantization;
  if (!renderer.empty()) result["renderer"] = renderer;
  if (!parser.empty()) result["parser"] = parser;
  if (!requires_version.empty()) result["requires"] = requires_version;
  result["architecture"] = "amd64";
  result["os"] = "linux";
  result["rootfs"] = {{"type", "layers"}, {"diff_ids", ordered_json::array()}};
  for (const Digest& layer : layers) result["rootfs"]["diff_ids"].push_back(layer.to_string());
  for (const auto& [key, value] : json.items()) {
    if (!result.contains(key)) result[key] = value;
  }
  return to_text(result) + "\n";
}

bool Model::can(Capability capability) const {
  return std::find(capabilities.begin(), capabilities.end(), capability) != capabilities.end();
}

std::string show_modelfile(const Model& model) {
  Modelfile modelfile;
  const auto add = [&](std::string name, std::string arguments) {
    modelfile.commands.push_back({std::move(name), std::move(arguments)});
  };
  add("model", valid_utf8(model.model_path.string()));
  for (const auto& path : model.shard_paths) add("model", valid_utf8(path.string()));
  for (const auto& path : model.adapter_paths) add("adapter", valid_utf8(path.string()));
  for (const auto& path : model.projector_paths) add("model", valid_utf8(path.string()));
  if (model.template_text) add("template", *model.template_text);
  if (!model.system.empty()) add("system", model.system);
  if (!model.config.renderer.empty()) add("renderer", model.config.renderer);
  if (!model.config.parser.empty()) add("parser", model.config.parser);
  if (!model.config.requires_version.empty()) add("requires", model.config.requires_version);
  for_each_parameter(model.parameters, [&](const std::string& name, const auto& value) { add(name, bare(value)); });
  for (const std::string& license : model.licenses) add("license", license);
  for (const ordered_json& message : model.messages) {
    add("message", message.value("role", "") + ": " + message.value("content", ""));
  }
  return fmt::format(
      "# Modelfile generated by \"ollama show\"\n"
      "# To build a new Modelfile based on this, replace FROM with:\n"
      "# FROM {}\n\n{}",
      model.name.display_shortest(), modelfile.to_string());
}

std::string show_parameters(const Model& model) {
  std::string text;
  for_each_parameter(model.parameters, [&](const std::string& name, const ordered_json& value) {
    if (!text.empty()) text += '\n';
    text += fmt::format("{:<30} {}", name, quoted(value));
  });
  return text;
}

Result<Gguf> read_gguf(const Model& model, GgufArrays arrays) {
  Result<Gguf> first = Gguf::read(model.model_path, arrays);
  if (!first || model.shard_paths.empty()) return first;
  std::vector<std::shared_ptr<const Gguf>> parts = {std::make_shared<const Gguf>(std::move(*first))};
  for (const std::filesystem::path& path : model.shard_paths) {
    Result<Gguf> part = Gguf::read(path, arrays);
    if (!part) return part;
    parts.push_back(std::make_shared<const Gguf>(std::move(*part)));
  }
  return Gguf::join(parts);
}

ordered_json show_tensors(const Gguf& gguf) {
  ordered_json tensors = ordered_json::array();
  for (const GgufTensor& tensor : gguf.tensors()) {
    tensors.push_back({{"name", tensor.name}, {"type", tensor.type}, {"shape", tensor.shape}});
  }
  return tensors;
}

}  // namespace drover
