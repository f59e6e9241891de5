// The options of a generation by name and type: what PARAMETER lines, params layers and the API's "options" may hold.
#pragma once

#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drover {

// llama.cpp's own limit, at which it ends its process.
inline constexpr int kThreadsMax = 512;
inline constexpr int kMainGpuMax = 127;
// Tokens of one step. More take memory and save nothing.
inline constexpr int kBatchMax = 8192;
// Fractions and penalties are no further from zero than this.
inline constexpr double kNumberMax = 1e6;
// Stop sequences of a request, and bytes of one.
inline constexpr std::size_t kStopsMax = 64;
inline constexpr std::size_t kStopBytesMax = 4096;

// kThink: true, false, or how hard ("low", "medium", "high", "max").
enum class ParameterType { kInteger, kFloat, kBoolean, kString, kStrings, kThink };

// The type of the option `name` ("num_ctx", "temperature", "stop" …); nullopt: there is no such option.
std::optional<ParameterType> find_parameter(std::string_view name);

// True for options of old that a Modelfile may still set to no effect (mirostat, low_vram …).
bool is_deprecated_parameter(std::string_view name);

// What a Modelfile's `PARAMETER name value` means as JSON; for kStrings an array with the one string.
// Errors: kInvalidArgument, "unknown parameter '<name>'", "invalid int value [<value>]" and the like.
Result<nlohmann::ordered_json> parse_parameter(std::string_view name, std::string_view value);

// Adds one PARAMETER line to `parameters` (an object): strings of a list accumulate, anything else is replaced; a
// deprecated one is dropped. Errors as parse_parameter.
Result<void> add_parameter(nlohmann::ordered_json& parameters, std::string_view name, std::string_view value);

// Checks the API's "options" object (or null) and returns it with every value in its option's type (an integer given
// as 2.0 becomes 2). nulls and unknown names are dropped, the latter with one line in the log.
// Errors: kInvalidArgument, `option "<name>" must be of type integer` (boolean, float32, string, array).
Result<nlohmann::ordered_json> check_options(const nlohmann::ordered_json& options);

// Refuses, among options that check_options() has returned, what no engine takes: numbers out of their range, too many
// or too long stop sequences. For what a client asks for now; a model that is in the store may hold anything, and the
// two below keep it within bounds.
// Error: kInvalidArgument, `option "<name>" must be at most <number>` (at least, have at most 64 strings).
Result<void> check_ranges(const nlohmann::ordered_json& options);

// The option `name` of `options`, or `otherwise`: no more than `most`, and within an int.
int integer_option(const nlohmann::ordered_json& options, std::string_view name, int otherwise,
                   int most = std::numeric_limits<int>::max());
// The same for a number, which is within kNumberMax.
double number_option(const nlohmann::ordered_json& options, std::string_view name, double otherwise);

}  // namespace drover
