// A model's manifest: which blobs it is made of. The file that makes a model exist.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/digest.h"

namespace drover {

inline constexpr std::uint64_t kManifestBytesMax = 4u << 20;
inline constexpr std::size_t kManifestLayersMax = 4096;
inline constexpr std::uint64_t kLayerBytesMax = 1ull << 50;

inline constexpr std::string_view kManifestMediaType = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kConfigMediaType = "application/vnd.docker.container.image.v1+json";
inline constexpr std::string_view kModelMediaType = "application/vnd.ollama.image.model";
inline constexpr std::string_view kProjectorMediaType = "application/vnd.ollama.image.projector";
inline constexpr std::string_view kAdapterMediaType = "application/vnd.ollama.image.adapter";
inline constexpr std::string_view kTemplateMediaType = "application/vnd.ollama.image.template";
inline constexpr std::string_view kPromptMediaType = "application/vnd.ollama.image.prompt";
inline constexpr std::string_view kSystemMediaType = "application/vnd.ollama.image.system";
inline constexpr std::string_view kParamsMediaType = "application/vnd.ollama.image.params";
inline constexpr std::string_view kMessagesMediaType = "application/vnd.ollama.image.messages";
inline constexpr std::string_view kLicenseMediaType = "application/vnd.ollama.image.license";

struct Layer {
  std::string media_type;
  Digest digest;
  std::uint64_t size = 0;  // bytes
  std::string from;        // the model or file it was taken from; "" if that was not said
  std::string name;        // its file name within the model; "" for most
  friend bool operator==(const Layer&, const Layer&) = default;
};

struct Manifest {
  Layer config;
  std::vector<Layer> layers;

  // Error: kInvalidArgument, saying what is wrong: no JSON, a digest that is none, a size below 0, too many layers.
  static Result<Manifest> parse(std::string_view json);
  // As Ollama writes it: compact JSON, docker's schema 2.
  std::string to_json() const;
  // The sizes of config and layers together.
  std::uint64_t total_bytes() const;
};

// Every digest that appears anywhere in `text`: all that a manifest of any kind, broken or not, can refer to.
std::set<Digest> digests_in(std::string_view text);

}  // namespace drover
