#include "store/manifest.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "store/untrusted_text.h"

namespace drover {
namespace {

using nlohmann::ordered_json;

// Strings of a manifest that Drover passes on but does not interpret.
constexpr std::size_t kManifestStringBytesMax = 4096;

Result<std::string> string_field(const ordered_json& object, const char* key) {
  const auto field = object.find(key);
  if (field == object.end() || field->is_null()) return std::string();
  if (!field->is_string()) return invalid(fmt::format("manifest is broken: {} is not a string", key));
  std::string text = field->get<std::string>();
  if (text.size() > kManifestStringBytesMax) return invalid(fmt::format("manifest is broken: {} is too long", key));
  return text;
}

Result<Layer> parse_layer(const ordered_json& json) {
  if (!json.is_object()) return invalid("manifest is broken: a layer is not an object");
  Layer layer;
  for (const auto& [key, target] :
       {std::pair{"mediaType", &layer.media_type}, std::pair{"from", &layer.from}, std::pair{"name", &layer.name}}) {
    Result<std::string> text = string_field(json, key);
    if (!text) return std::move(text).error();
    *target = std::move(*text);
  }
  Result<std::string> digest_text = string_field(json, "digest");
  if (!digest_text) return std::move(digest_text).error();
  Result<Digest> digest = Digest::parse(*digest_text);
  if (!digest) return invalid("manifest is broken: invalid digest format");
  layer.digest = *digest;
  const auto size = json.find("size");
  if (size == json.end() || !size->is_number_unsigned() || size->get<std::uint64_t>() > kLayerBytesMax) {
    return invalid("manifest is broken: the size of a layer is not a number of bytes");
  }
  layer.size = size->get<std::uint64_t>();
  return layer;
}

ordered_json to_json_object(const Layer& layer) {
  ordered_json json = {{"mediaType", layer.media_type}, {"digest", layer.digest.to_string()}, {"size", layer.size}};
  if (!layer.from.empty()) json["from"] = layer.from;
  if (!layer.name.empty()) json["name"] = layer.name;
  return json;
}

}  // namespace

Result<Manifest> Manifest::parse(std::string_view json_text) {
  const Result<ordered_json> parsed = parse_untrusted_json(json_text, "manifest");
  if (!parsed) return parsed.error();
  const ordered_json& json = *parsed;
  if (!json.is_object()) return invalid("manifest is broken: it is not a JSON object");
  if (json.contains("manifests")) return invalid("manifest is a list of manifests, which is not supported");
  const auto config = json.find("config");
  const auto layers = json.find("layers");
  if (config == json.end()) return invalid("manifest is broken: it has no config");
  if (layers == json.end() || !layers->is_array()) return invalid("manifest is broken: it has no layers");
  if (layers->size() > kManifestLayersMax) return invalid("manifest is broken: it has too many layers");

  Manifest manifest;
  Result<Layer> config_layer = parse_layer(*config);
  if (!config_layer) return std::move(config_layer).error();
  manifest.config = std::move(*config_layer);
  for (const ordered_json& item : *layers) {
    Result<Layer> layer = parse_layer(item);
    if (!layer) return std::move(layer).error();
    manifest.layers.push_back(std::move(*layer));
  }
  return manifest;
}

std::string Manifest::to_json() const {
  ordered_json json = {{"schemaVersion", 2}, {"mediaType", kManifestMediaType}, {"config", to_json_object(config)}};
  json["layers"] = ordered_json::array();
  for (const Layer& layer : layers) json["layers"].push_back(to_json_object(layer));
  return json.dump() + "\n";
}

std::uint64_t Manifest::total_bytes() const {
  // No overflow: kManifestLayersMax layers of kLayerBytesMax each fit in 64 bits.
  std::uint64_t total = config.size;
  for (const Layer& layer : layers) total += layer.size;
  return total;
}

std::set<Digest> digests_in(std::string_view text) {
  constexpr std::string_view kAlgorithm = "sha256";
  constexpr std::size_t kLength = kAlgorithm.size() + 1 + 2 * Digest::kSize;
  std::set<Digest> digests;
  for (std::size_t at = text.find(kAlgorithm); at != std::string_view::npos; at = text.find(kAlgorithm, at + 1)) {
    if (const Result<Digest> digest = Digest::parse(text.substr(at, kLength)); digest.ok()) digests.insert(*digest);
  }
  return digests;
}

}  // namespace drover
