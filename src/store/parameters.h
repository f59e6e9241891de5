// The options of a generation by name and type: what PARAMETER lines, params layers and the API's "options" may hold.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drover {

enum class ParameterType { kInteger, kFloat, kBoolean, kString, kStrings };

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
// as 2.0 becomes 2). nulls and unknown names are dropped, the latter with a warning in the log.
// Errors: kInvalidArgument, `option "<name>" must be of type integer` (boolean, float32, string, array).
Result<nlohmann::ordered_json> check_options(const nlohmann::ordered_json& options);

}  // namespace drover
