#include "store/model_loader.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/utf8.h"
#include "store/gguf_check.h"
#include "store/parameters.h"
#include "store/renderers.h"
#include "store/untrusted_text.h"

namespace drover {
namespace {

using nlohmann::ordered_json;

bool mentions(const std::optional<std::string>& text, std::string_view word) {
  return text && text->find(word) != std::string::npos;
}

// The capability that a config declares by this name.
std::optional<Capability> parse_capability(const ordered_json& name) {
  for (const Capability capability :
       {Capability::kCompletion, Capability::kEmbedding, Capability::kVision, Capability::kAudio, Capability::kTools,
        Capability::kInsert, Capability::kThinking}) {
    if (name.is_string() && name.get<std::string>() == to_string(capability)) return capability;
  }
  return std::nullopt;
}

}  // namespace

Result<ordered_json> check_messages(const ordered_json& messages) {
  if (messages.is_null()) return ordered_json::array();
  if (!messages.is_array()) return invalid("messages must be a list");
  for (const ordered_json& message : messages) {
    if (!message.is_object()) return invalid("messages must be a list of objects");
    const auto role = message.find("role");
    const auto content = message.find("content");
    if (role == message.end() || !role->is_string()) return invalid("a message must have a role");
    if (content != message.end() && !content->is_string()) return invalid("the content of a message must be a string");
  }
  return messages;
}

Result<std::shared_ptr<const Gguf>> ModelLoader::read_gguf(const Digest& digest) {
  {
    const MutexLock lock(mutex_);
    std::erase_if(ggufs_, [](const auto& entry) { return entry.second.expired(); });
    if (const auto entry = ggufs_.find(digest); entry != ggufs_.end()) {
      if (std::shared_ptr<const Gguf> gguf = entry->second.lock()) return gguf;
    }
  }
  Result<Gguf> read = Gguf::read(blobs_.path(digest));
  if (!read) return std::move(read).error();
  auto gguf = std::make_shared<const Gguf>(std::move(*read));
  const MutexLock lock(mutex_);
  ggufs_[digest] = gguf;
  return std::shared_ptr<const Gguf>(std::move(gguf));
}

Result<std::shared_ptr<const Model>> ModelLoader::load(const ModelName& name, std::string_view text,
                                                       std::chrono::system_clock::time_point modified_at) {
  const auto broken = [&](const Error& error) {
    return Error{error.code == ErrorCode::kInternal ? ErrorCode::kInternal : ErrorCode::kInvalidArgument,
                 fmt::format("model '{}' is broken: {}", name.display_shortest(), error.message)};
  };
  const Result<Manifest> manifest = Manifest::parse(text);
  if (!manifest) return broken(manifest.error());
  const Result<std::string> config_text = blobs_.read(manifest->config.digest, kTextLayerBytesMax);
  if (!config_text) return broken(config_text.error());
  if (Result<void> checked = check_size(manifest->config); !checked) return broken(checked.error());
  Result<ModelConfig> config = ModelConfig::parse(*config_text);
  if (!config) return broken(config.error());

  auto model = std::make_shared<Model>(name, std::move(*config));
  model->digest = Digest::of(text);
  model->size = manifest->total_bytes();
  model->modified_at = modified_at;
  for (const Layer& layer : manifest->layers) {
    if (Result<void> loaded = load_layer(layer, *model); !loaded) return broken(loaded.error());
  }
  if (Result<void> loaded = load_weights(*manifest, *model); !loaded) return broken(loaded.error());
  if (Result<void> found = find_capabilities(*manifest, *model); !found) return broken(found.error());
  return std::shared_ptr<const Model>(std::move(model));
}

Result<void> ModelLoader::check_size(const Layer& layer) const {
  const Result<std::uint64_t> size = blobs_.size(layer.digest);
  if (!size) return size.error();
  if (*size == layer.size) return {};
  return invalid(
      fmt::format("blob \"{}\" has {} bytes, and its manifest says {}", layer.digest.to_string(), *size, layer.size));
}

Result<void> ModelLoader::load_weights(const Manifest& manifest, Model& model) {
  std::vector<const Layer*> layers;
  std::vector<std::shared_ptr<const Gguf>> parts;
  for (const Layer& layer : manifest.layers) {
    if (layer.media_type != kModelMediaType) continue;
    Result<std::shared_ptr<const Gguf>> gguf = read_gguf(layer.digest);
    if (!gguf) return std::move(gguf).error();
    // They stand in order already, unless somebody else has written the manifest.
    std::size_t at = parts.size();
    while (at > 0 && parts[at - 1]->split_number() > (*gguf)->split_number()) --at;
    layers.insert(layers.begin() + static_cast<std::ptrdiff_t>(at), &layer);
    parts.insert(parts.begin() + static_cast<std::ptrdiff_t>(at), std::move(*gguf));
  }
  if (layers.empty()) return invalid("it has no model file");
  model.model_path = blobs_.path(layers.front()->digest);
  model.model_digest = layers.front()->digest;
  model.parent_model = layers.front()->from;
  model.gguf = parts.front();
  if (layers.size() == 1 && model.gguf->split_count() == 1) return check_model(*model.gguf);
  if (model.gguf->split_count() == 1) return invalid("it has several model files");
  Result<Gguf> whole = Gguf::join(parts);
  if (!whole) return std::move(whole).error();
  model.gguf = std::make_shared<const Gguf>(std::move(*whole));
  for (std::size_t i = 1; i < layers.size(); ++i) model.shard_paths.push_back(blobs_.path(layers[i]->digest));
  return check_model(*model.gguf);
}

Result<void> ModelLoader::load_layer(const Layer& layer, Model& model) {
  if (Result<void> checked = check_size(layer); !checked) return checked;
  const std::filesystem::path path = blobs_.path(layer.digest);
  if (layer.media_type == kAdapterMediaType) {
    const Result<std::shared_ptr<const Gguf>> adapter = read_gguf(layer.digest);
    if (!adapter) return adapter.error();
    model.adapter_paths.push_back(path);
    return check_adapter(**adapter);
  }
  if (layer.media_type == kProjectorMediaType) return model.projector_paths.push_back(path), Result<void>();

  const bool is_json = layer.media_type == kParamsMediaType || layer.media_type == kMessagesMediaType;
  const bool is_template = layer.media_type == kTemplateMediaType || layer.media_type == kPromptMediaType;
  const bool is_system = layer.media_type == kSystemMediaType;
  const bool is_license = layer.media_type == kLicenseMediaType;
  if (!is_json && !is_template && !is_system && !is_license) return {};

  Result<std::string> text = blobs_.read(layer.digest, kTextLayerBytesMax);
  if (!text) return std::move(text).error();
  if (is_template) model.template_text = valid_utf8(*text);
  if (is_system) model.system = valid_utf8(*text);
  if (is_license) model.licenses.push_back(valid_utf8(*text));
  if (!is_json) return {};

  const Result<ordered_json> json = parse_untrusted_json(*text, layer.media_type);
  if (!json) return json.error();
  const bool is_parameters = layer.media_type == kParamsMediaType;
  Result<ordered_json> checked = is_parameters ? check_options(*json) : check_messages(*json);
  if (!checked) return std::move(checked).error();
  (is_parameters ? model.parameters : model.messages) = std::move(*checked);
  return {};
}

namespace {

// A config that names a renderer makes the stored template void, which is a placeholder then. One that names only a
// parser may have a template that is in use.
void read_renderer(Model& model) {
  const bool renders = !model.config.renderer.empty();
  const bool placeholder = !model.template_text || model.template_text->find(".Messages") == std::string::npos;
  if (!renders && (model.config.parser.empty() || !placeholder)) return;
  if (model.gguf->chat_template().empty()) {
    const bool by_parser =
        find_renderer(model.config.renderer) == nullptr && find_renderer(model.config.parser) != nullptr;
    model.family_renderer = by_parser ? model.config.parser : model.config.renderer;
    if (model.family_renderer.empty()) return;
  }
  model.template_void = true;
}

}  // namespace

Result<void> ModelLoader::find_capabilities(const Manifest& manifest, Model& model) {
  const Gguf& gguf = *model.gguf;
  std::set<Capability> found;
  found.insert(gguf.is_embedding_model() ? Capability::kEmbedding : Capability::kCompletion);
  if (gguf.find_in_architecture("vision.block_count") != nullptr) found.insert(Capability::kVision);
  for (const Layer& layer : manifest.layers) {
    if (layer.media_type != kProjectorMediaType) continue;
    const Result<std::shared_ptr<const Gguf>> projector = read_gguf(layer.digest);
    if (!projector) return projector.error();
    const auto* audio = (*projector)->find_in_architecture("has_audio_encoder");
    const auto* vision = (*projector)->find_in_architecture("has_vision_encoder");
    const bool has_audio = audio != nullptr && *audio == true;
    if (has_audio) found.insert(Capability::kAudio);
    if (!has_audio || (vision != nullptr && *vision == true)) found.insert(Capability::kVision);
  }
  read_renderer(model);
  if (gguf.template_has_tools() || mentions(model.template_text, ".Tools")) found.insert(Capability::kTools);
  if (gguf.has_fill_in_the_middle() || mentions(model.template_text, ".Suffix")) found.insert(Capability::kInsert);
  if (gguf.template_has_thinking() || mentions(model.template_text, ".Think")) found.insert(Capability::kThinking);
  if (const Renderer* family = find_renderer(model.family_renderer)) {
    if (family->tools) found.insert(Capability::kTools);
    if (family->thinking) found.insert(Capability::kThinking);
  }
  if (const auto declared = model.config.json.find("capabilities");
      declared != model.config.json.end() && declared->is_array()) {
    for (const ordered_json& name : *declared) {
      if (const std::optional<Capability> capability = parse_capability(name)) found.insert(*capability);
    }
  }
  model.capabilities.assign(found.begin(), found.end());
  return {};
}

}  // namespace drover
