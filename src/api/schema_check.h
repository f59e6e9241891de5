// What a JSON schema or a tool must not be, found out before a runner sees it. The engine turns schemas into grammars
// with recursive code that takes time and memory without a bound for some of them, and each model has one thread that
// does this for all of its requests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/json.h"
#include "base/result.h"

namespace drover::api {

// Schemas inside of each other as they are written, and with all references followed.
inline constexpr int kSchemaDepthMax = 64;
inline constexpr int kSchemaStepsMax = 256;
// Of all schemas of a request: schemas, names and entries, each as often as the engine visits it.
inline constexpr std::int64_t kSchemaCostMax = 10'000;
// Values of enum and const together.
inline constexpr std::int64_t kSchemaTextBytesMax = 1 << 20;
// The engine makes a rule of its grammar for each of a count's repetitions. This is for all of a request.
inline constexpr std::int64_t kRepetitionsMax = 50'000;
// A least count above these is refused by the engine; a greatest count above it is taken for none.
inline constexpr std::int64_t kCountMax = 2000;
inline constexpr std::int64_t kItemsMinMax = 1000;
inline constexpr std::int64_t kEnumEntriesMax = 10'000;
// What the engine has to tell apart at one place of its output: alternatives, entries, properties that may come next,
// branches of a pattern. Its time grows with their square.
inline constexpr std::int64_t kChoicesMax = 1000;
inline constexpr std::size_t kPropertiesMax = 1000;
// The engine's time grows with the third power of those that are not required, of one object.
inline constexpr std::size_t kOptionalPropertiesMax = 200;
inline constexpr std::int64_t kOptionalCubesMax = 5 * 200 * 200 * 200;  // of all objects of a request
inline constexpr std::size_t kSchemaNameBytesMax = 1024;                // of a property, a reference, a function
inline constexpr std::size_t kPatternBytesMax = 4096;
inline constexpr std::size_t kToolsMax = 1024;
// Runners parse what they are handed as JSON several times more, and compare each key of an object with all others.
// These bound the tools, the schema and the arguments of the calls of a request.
inline constexpr std::size_t kHandedKeysMax = 2048;
inline constexpr std::size_t kHandedValuesMax = 262'144;
inline constexpr std::size_t kHandedComparisonsMax = 16 << 20;  // of keys, in all

// What the parts of one request may cost together. One is made for each request.
struct SchemaBudget {
  std::int64_t cost = kSchemaCostMax;
  std::int64_t text_bytes = kSchemaTextBytesMax;
  std::int64_t repetitions = kRepetitionsMax;
  std::int64_t optional_cubes = kOptionalCubesMax;
  std::size_t handed_values = kHandedValuesMax;
  std::size_t handed_comparisons = kHandedComparisonsMax;
};

// Errors are kInvalidArgument and begin with the path: "#/properties/age: minimum 5 is greater than maximum 2". What
// is no schema at all, and what the engine does not know, passes: the engine says so itself.
Result<void> check_schema(const Json& schema, SchemaBudget& budget);

// `tools` in OpenAI's form, with the schemas of their parameters. Errors name the tool.
Result<void> check_tools(const Json& tools, SchemaBudget& budget);

// Any JSON that a runner is handed, within kHandedKeysMax and kHandedValuesMax.
Result<void> check_handed(const Json& json, SchemaBudget& budget);

}  // namespace drover::api
