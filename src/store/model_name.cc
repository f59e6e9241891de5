#include "store/model_name.h"

#include <algorithm>
#include <optional>

#include "base/text.h"

namespace drover {
namespace {

// Newer versions of Ollama know the public registry by this name too.
constexpr std::string_view kDefaultHostAlias = "ollama.com";

enum class Part { kHost, kNamespace, kModel, kTag };

bool is_alphanumeric_or_underscore(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_valid_in(Part part, char c) {
  if (is_alphanumeric_or_underscore(c) || c == '-') return true;
  if (c == '.') return part != Part::kNamespace;
  return c == ':' && part == Part::kHost;
}

bool is_valid_part(Part part, std::string_view text) {
  const std::size_t length_max = part == Part::kHost ? kHostLengthMax : kNamePartLengthMax;
  if (text.empty() || text.size() > length_max) return false;
  // The first character rules out ".", ".." and hidden files.
  return is_alphanumeric_or_underscore(text.front()) &&
         std::all_of(text.begin(), text.end(), [part](char c) { return is_valid_in(part, c); });
}

// Cuts what follows the last `separator` off `text`. nullopt: there is no separator.
std::optional<std::string_view> cut_last(std::string_view& text, char separator) {
  const std::size_t at = text.rfind(separator);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view last = text.substr(at + 1);
  text = text.substr(0, at);
  return last;
}

}  // namespace

Result<ModelName> ModelName::parse(std::string_view text) {
  std::string_view rest = text;
  if (const std::size_t scheme = rest.find("://"); scheme != std::string_view::npos) {
    if (scheme == 0) return invalid("invalid model name");
    rest.remove_prefix(scheme + 3);
  }
  std::string_view tag = kDefaultTag;
  const std::size_t colon = rest.rfind(':');
  const std::size_t slash = rest.rfind('/');
  // A colon in front of the last slash belongs to the host's port.
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) tag = *cut_last(rest, ':');

  const std::optional<std::string_view> model = cut_last(rest, '/');
  if (!model) return from_parts(kDefaultHost, kDefaultNamespace, rest, tag);
  const std::optional<std::string_view> name_space = cut_last(rest, '/');
  if (!name_space) return from_parts(kDefaultHost, rest, *model, tag);
  return from_parts(rest, *name_space, *model, tag);
}

Result<ModelName> ModelName::from_parts(std::string_view host, std::string_view name_space, std::string_view model,
                                        std::string_view tag) {
  if (!is_valid_part(Part::kHost, host) || !is_valid_part(Part::kNamespace, name_space) ||
      !is_valid_part(Part::kModel, model) || !is_valid_part(Part::kTag, tag)) {
    return invalid("invalid model name");
  }
  ModelName name;
  name.host_ = lower_case(host) == kDefaultHostAlias ? kDefaultHost : host;
  name.namespace_ = name_space;
  name.model_ = model;
  name.tag_ = tag;
  return name;
}

std::string ModelName::full() const {
  return host_ + '/' + namespace_ + '/' + model_ + ':' + tag_;
}

std::string ModelName::display_shortest() const {
  std::string text;
  if (lower_case(host_) != kDefaultHost) {
    text = host_ + '/' + namespace_ + '/';
  } else if (lower_case(namespace_) != kDefaultNamespace) {
    text = namespace_ + '/';
  }
  return text + model_ + ':' + tag_;
}

std::string ModelName::folded() const {
  return lower_case(full());
}

std::filesystem::path ModelName::manifest_path() const {
  return std::filesystem::path(host_) / namespace_ / model_ / tag_;
}

}  // namespace drover
