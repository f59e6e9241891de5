// The schemas of tools for chat templates that take them only as most are: a type, which is one word, in each property,
// items in each list, texts as descriptions.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

namespace drover::schema {

using Json = nlohmann::ordered_json;

// `tools` in OpenAI's form, each parameter with a type of its own: of several the first, of a choice that of its first
// branch, of a value its own, else a string. What such a schema allows the one that was sent allows too, where that
// says anything. Nothing where all have that form.
std::optional<Json> plainly_typed(const Json& tools);

// Writes the types of parameters, where they are one word, beside what the rewriting has made of them, for the same
// templates. The converter heeds what the rewriting makes without a type (references, choices, values) before a type.
void keep_types(const Json& sent, Json& rewritten);

}  // namespace drover::schema
