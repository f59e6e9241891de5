#include "schema/references.h"

#include <cstdlib>

#include "schema/schema_merge.h"

namespace drover::schema {
namespace {

constexpr const char* kReferences[] = {"$ref", "$dynamicRef", "$recursiveRef"};

// A part of a pointer with its escapes (~1, ~0, %20) undone.
std::string unescaped(std::string_view part) {
  std::string text;
  for (std::size_t i = 0; i < part.size(); ++i) {
    if (part[i] == '%' && i + 2 < part.size()) {
      text += static_cast<char>(std::strtol(std::string(part.substr(i + 1, 2)).c_str(), nullptr, 16));
      i += 2;
    } else if (part[i] == '~' && i + 1 < part.size() && (part[i + 1] == '0' || part[i + 1] == '1')) {
      text += part[++i] == '0' ? '~' : '/';
    } else {
      text += part[i];
    }
  }
  return text;
}

}  // namespace

bool References::is_one(const Json& schema) {
  for (const char* name : kReferences) {
    if (find(schema, name) != nullptr) return true;
  }
  return false;
}

std::string References::text(const Json& schema) {
  for (const char* name : kReferences) {
    if (find(schema, name) != nullptr) return text_of(schema, name);
  }
  return {};
}

const Json* References::target(const Json& schema) {
  std::string reference = text(schema);
  const std::string own = text_of(root_, "$id");
  if (!own.empty() && reference.starts_with(own)) reference.erase(0, own.size());
  if (reference == "#" || (reference.empty() && !own.empty())) return &root_;
  if (reference.starts_with("#/")) return follow(std::string_view(reference).substr(2));
  if (!collected_) collect(root_);
  collected_ = true;
  const auto found = names_.find(reference);
  return found == names_.end() ? nullptr : found->second;
}

void References::collect(const Json& schema) {
  if (schema.is_object()) {
    for (const char* name : {"$anchor", "$dynamicAnchor"}) {
      if (const std::string anchor = text_of(schema, name); !anchor.empty()) names_.emplace("#" + anchor, &schema);
    }
    for (const char* name : {"$id", "id"}) {
      if (const std::string id = text_of(schema, name); !id.empty()) names_.emplace(id, &schema);
    }
  }
  if (!schema.is_structured()) return;
  for (const Json& part : schema) collect(part);
}

const Json* References::follow(std::string_view pointer) const {
  const Json* at = &root_;
  while (true) {
    const std::string part(pointer.substr(0, pointer.find('/')));
    if (at->is_array()) {
      const std::size_t index = std::strtoull(part.c_str(), nullptr, 10);
      if (index >= at->size()) return nullptr;
      at = &at->at(index);
    } else {
      const Json* next = find(*at, part.c_str());
      if (next == nullptr) next = find(*at, unescaped(part).c_str());
      if (next == nullptr) return nullptr;
      at = next;
    }
    if (part.size() == pointer.size()) return at;
    pointer.remove_prefix(part.size() + 1);
  }
}

}  // namespace drover::schema
