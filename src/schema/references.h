// Where the references of a schema lead.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "base/json.h"

namespace drover::schema {

class References {
 public:
  explicit References(const Json& root) : root_(root) {}

  // Whether a schema has a reference: $ref, or $dynamicRef and $recursiveRef, which lead to the same in one document.
  static bool is_one(const Json& schema);
  static std::string text(const Json& schema);

  // What the reference of `schema` leads to: pointers, $anchor, and the document's own $id. Null: nowhere, or to
  // another document.
  const Json* target(const Json& schema);

 private:
  void collect(const Json& schema);
  const Json* follow(std::string_view pointer) const;

  const Json& root_;
  bool collected_ = false;
  std::unordered_map<std::string, const Json*> names_;  // $anchor with '#' before it, and $id
};

}  // namespace drover::schema
