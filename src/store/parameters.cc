#include "store/parameters.h"

#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>

#include "base/settings.h"

namespace drover {
namespace {

using nlohmann::ordered_json;

struct Parameter {
  std::string_view name;
  ParameterType type;
};

constexpr Parameter kParameters[] = {
    {"num_keep", ParameterType::kInteger},
    {"seed", ParameterType::kInteger},
    {"num_predict", ParameterType::kInteger},
    {"top_k", ParameterType::kInteger},
    {"top_p", ParameterType::kFloat},
    {"min_p", ParameterType::kFloat},
    {"typical_p", ParameterType::kFloat},
    {"repeat_last_n", ParameterType::kInteger},
    {"temperature", ParameterType::kFloat},
    {"repeat_penalty", ParameterType::kFloat},
    {"presence_penalty", ParameterType::kFloat},
    {"frequency_penalty", ParameterType::kFloat},
    {"stop", ParameterType::kStrings},
    {"num_ctx", ParameterType::kInteger},
    {"num_batch", ParameterType::kInteger},
    {"num_gpu", ParameterType::kInteger},
    {"main_gpu", ParameterType::kInteger},
    {"use_mmap", ParameterType::kBoolean},
    {"num_thread", ParameterType::kInteger},
    {"draft_num_predict", ParameterType::kInteger},
    {"think", ParameterType::kThink},
};

constexpr std::string_view kDeprecated[] = {
    "penalize_newline", "low_vram", "f16_kv",       "logits_all",   "vocab_only",
    "use_mlock",        "mirostat", "mirostat_tau", "mirostat_eta",
};

// The whole of `text` as a number; nullopt if it is none or does not fit.
template <typename T>
std::optional<T> parse_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<bool> parse_boolean(std::string_view text) {
  for (const std::string_view word : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (text == word) return true;
  }
  for (const std::string_view word : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (text == word) return false;
  }
  return std::nullopt;
}

// A JSON number as an integer: fractions are cut off, what is too large becomes the largest.
std::int64_t to_integer(const ordered_json& number) {
  constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
  if (number.is_number_unsigned()) {
    return static_cast<std::int64_t>(std::min<std::uint64_t>(number.get<std::uint64_t>(), kMax));
  }
  if (number.is_number_integer()) return number.get<std::int64_t>();
  const double value = number.get<double>();
  if (value >= 0x1p63) return kMax;
  if (value <= -0x1p63) return std::numeric_limits<std::int64_t>::min();
  return static_cast<std::int64_t>(value);
}

Error wrong_type(std::string_view name, std::string_view type) {
  return invalid(fmt::format("option \"{}\" must be of type {}", name, type));
}

Result<ordered_json> check_option(const Parameter& parameter, const ordered_json& value) {
  switch (parameter.type) {
    case ParameterType::kInteger:
      if (!value.is_number()) return wrong_type(parameter.name, "integer");
      return ordered_json(to_integer(value));
    case ParameterType::kFloat:
      if (!value.is_number()) return wrong_type(parameter.name, "float32");
      return ordered_json(value.get<double>());
    case ParameterType::kBoolean:
      if (!value.is_boolean()) return wrong_type(parameter.name, "boolean");
      return value;
    case ParameterType::kString:
      if (!value.is_string()) return wrong_type(parameter.name, "string");
      return value;
    case ParameterType::kStrings:
      if (!value.is_array()) return wrong_type(parameter.name, "array");
      if (!std::all_of(value.begin(), value.end(), [](const auto& element) { return element.is_string(); })) {
        return invalid(fmt::format("option \"{}\" must be of an array of strings", parameter.name));
      }
      return value;
    case ParameterType::kThink:
      if (value.is_boolean() || (value.is_string() && is_think_level(value.get_ref<const std::string&>())))
        return value;
      return invalid(R"(option "think" must be true, false, "low", "medium", "high" or "max")");
  }
  return value;
}

// The most that an option may ask for, where more would end the engine's process and not just be of no use.
struct Most {
  std::string_view name;
  std::int64_t value;
};
constexpr Most kMost[] = {{"num_thread", kThreadsMax}, {"main_gpu", kMainGpuMax}};

const Parameter* find(std::string_view name) {
  const auto* parameter = std::find_if(std::begin(kParameters), std::end(kParameters),
                                       [name](const Parameter& entry) { return entry.name == name; });
  return parameter == std::end(kParameters) ? nullptr : parameter;
}

}  // namespace

std::optional<ParameterType> find_parameter(std::string_view name) {
  const Parameter* parameter = find(name);
  if (parameter == nullptr) return std::nullopt;
  return parameter->type;
}

bool is_deprecated_parameter(std::string_view name) {
  return std::find(std::begin(kDeprecated), std::end(kDeprecated), name) != std::end(kDeprecated);
}

Result<ordered_json> parse_parameter(std::string_view name, std::string_view value) {
  const Parameter* parameter = find(name);
  if (parameter == nullptr) return invalid(fmt::format("unknown parameter '{}'", name));
  switch (parameter->type) {
    case ParameterType::kInteger:
      if (const auto number = parse_number<std::int64_t>(value)) return ordered_json(*number);
      return invalid(fmt::format("invalid int value [{}]", value));
    case ParameterType::kFloat:
      if (const auto number = parse_number<double>(value); number && std::isfinite(*number)) {
        return ordered_json(*number);
      }
      return invalid(fmt::format("invalid float value [{}]", value));
    case ParameterType::kBoolean:
      if (const auto boolean = parse_boolean(value)) return ordered_json(*boolean);
      return invalid(fmt::format("invalid bool value [{}]", value));
    case ParameterType::kString:
      return ordered_json(value);
    case ParameterType::kStrings:
      return ordered_json::array({value});
    case ParameterType::kThink:
      if (is_think_level(value)) return ordered_json(value);
      if (const auto boolean = parse_boolean(value)) return ordered_json(*boolean);
      return invalid(fmt::format("invalid think value [{}]", value));
  }
  return invalid(fmt::format("unknown parameter '{}'", name));
}

Result<void> add_parameter(ordered_json& parameters, std::string_view name, std::string_view value) {
  if (is_deprecated_parameter(name)) return {};
  Result<ordered_json> parsed = parse_parameter(name, value);
  if (!parsed) return std::move(parsed).error();
  ordered_json& slot = parameters[std::string(name)];
  if (slot.is_array() && parsed->is_array()) {
    slot.insert(slot.end(), parsed->begin(), parsed->end());
  } else {
    slot = std::move(*parsed);
  }
  return {};
}

Result<void> check_ranges(const ordered_json& options) {
  for (const Most& most : kMost) {
    const auto found = options.find(most.name);
    if (found == options.end() || !found->is_number() || to_integer(*found) <= most.value) continue;
    return invalid(fmt::format("option \"{}\" must be at most {}", most.name, most.value));
  }
  return {};
}

int integer_option(const ordered_json& options, std::string_view name, int otherwise, int most) {
  const auto found = options.find(name);
  if (found == options.end() || !found->is_number()) return otherwise;
  constexpr std::int64_t kLeast = std::numeric_limits<int>::min();
  return static_cast<int>(std::clamp<std::int64_t>(to_integer(*found), kLeast, most));
}

double number_option(const ordered_json& options, std::string_view name, double otherwise) {
  const auto found = options.find(name);
  if (found == options.end() || !found->is_number()) return otherwise;
  return std::clamp(found->get<double>(), -kNumberMax, kNumberMax);
}

Result<ordered_json> check_options(const ordered_json& options) {
  ordered_json checked = ordered_json::object();
  if (options.is_null()) return checked;
  if (!options.is_object()) return invalid("options must be an object");
  for (const auto& [name, value] : options.items()) {
    const Parameter* parameter = find(name);
    if (parameter == nullptr) {
      if (!is_deprecated_parameter(name)) spdlog::warn("invalid option provided: {}", name);
      continue;
    }
    if (value.is_null()) continue;
    Result<ordered_json> result = check_option(*parameter, value);
    if (!result) return std::move(result).error();
    checked[name] = std::move(*result);
  }
  return checked;
}

}  // namespace drover
