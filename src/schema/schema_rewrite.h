// JSON schemas in the form that the engine's converter keeps exactly. The converter (json-schema-to-grammar.cpp in
// llama.cpp's common/) leaves out or refuses much that a schema may say; what is left out here is named in a warning.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace drover::schema {

// Of all schemas of a request, as they are written after the rewriting: schemas, and values that are copied.
inline constexpr int kRewriteCostMax = 20'000;
// Repetitions in all its patterns and formats.
inline constexpr int kRewriteRepetitionsMax = 50'000;
// A greatest number of items above this is more than the engine's grammars hold.
inline constexpr int kItemsMax = 1990;

// Rewrites the schemas of one request. What the converter makes of them all, in one grammar, complete() makes whole.
class SchemaRewriter {
 public:
  SchemaRewriter();
  ~SchemaRewriter();

  // `where` is what messages begin with: "format", "tools[0].function.parameters". Errors are kInvalidArgument and name
  // the place in the schema: one that nothing satisfies or that is none, or, with `strict`, what cannot be kept.
  Result<Json> rewrite(const Json& schema, std::string_view where, bool strict);

  // `tools` in OpenAI's form, with their schemas rewritten; `strict` is a member of each function. A tool that is not
  // strict takes any object where its schema is none: one odd tool must not spoil the others.
  Result<Json> rewrite_tools(const Json& tools);

  // What is not kept, each as a clause: "format: #/properties/x: uniqueItems is not kept".
  const std::vector<std::string>& warnings() const;

  // Whether a grammar needs complete().
  bool has_rules() const;
  // The converter's grammar (GBNF), with the rules that it could not have made.
  std::string complete(const std::string& grammar) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace drover::schema
