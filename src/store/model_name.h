// The name of a model as a typed value, parsed once where it enters.
#pragma once

#include <compare>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drover {

inline constexpr std::string_view kDefaultHost = "registry.ollama.ai";
inline constexpr std::string_view kDefaultNamespace = "library";
inline constexpr std::string_view kDefaultTag = "latest";
inline constexpr std::size_t kHostLengthMax = 350;
inline constexpr std::size_t kNamePartLengthMax = 80;  // namespace, model and tag, each

// [host/][namespace/]model[:tag], with the defaults filled in. Its letters keep the case they came in, but two names
// that differ in case only are the same name: comparison and hash ignore case. Every part is one plain path component
// (not empty, no '/', does not begin with '.'), so a path made from a name stays below the folder it is appended to.
class ModelName {
 public:
  // Error: kInvalidArgument, "invalid model name". A scheme in front ("http://host/…") is accepted and dropped.
  static Result<ModelName> parse(std::string_view text);
  // From the four components of a manifest's path, for which no default applies. Error: as parse.
  static Result<ModelName> from_parts(std::string_view host, std::string_view name_space, std::string_view model,
                                      std::string_view tag);

  const std::string& host() const { return host_; }
  const std::string& name_space() const { return namespace_; }
  const std::string& model() const { return model_; }
  const std::string& tag() const { return tag_; }

  std::string full() const;              // "registry.ollama.ai/library/cria:latest"
  std::string display_shortest() const;  // "cria:latest", "ana/x:1", "host/ns/m:t"
  std::string folded() const;            // full() in lower case: equal for equal names, a key for maps

  // "<host>/<namespace>/<model>/<tag>", relative to the manifests folder.
  std::filesystem::path manifest_path() const;

  friend bool operator==(const ModelName& a, const ModelName& b) { return a.folded() == b.folded(); }
  friend std::strong_ordering operator<=>(const ModelName& a, const ModelName& b) { return a.folded() <=> b.folded(); }

 private:
  ModelName() = default;

  std::string host_;
  std::string namespace_;
  std::string model_;
  std::string tag_;
};

}  // namespace drover

template <>
struct std::hash<drover::ModelName> {
  std::size_t operator()(const drover::ModelName& name) const noexcept {
    return std::hash<std::string>{}(name.folded());
  }
};
