#include "store/parameters.h"

#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <span>

#include "base/quote.h"
#include "base/settings.h"

namespace drover {
namespace {

using nlohmann::ordered_json;

// What a number of an option is at least and at most for a client: what is beyond means nothing, or would end the
// engine's process. Within it llama.cpp and the request's context set bounds of their own.
struct Range {
  double least = 0;
  double most = 0;
};

constexpr Range kAny = {-0x1p63, 0x1p63};
constexpr Range kInt = {-0x1p31, 0x1p31 - 1};
constexpr Range kNumber = {-kNumberMax, kNumberMax};

struct Parameter {
  std::string_view name;
  ParameterType type;
  Range range = kAny;
};

constexpr Parameter kParameters[] = {
    {"num_keep", ParameterType::kInteger, kInt},
    {"seed", ParameterType::kInteger},  // any: only 32 bits of it count
    {"num_predict", ParameterType::kInteger, kInt},
    {"top_k", ParameterType::kInteger, kInt},
    {"top_p", ParameterType::kFloat, kNumber},
    {"min_p", ParameterType::kFloat, kNumber},
    {"typical_p", ParameterType::kFloat, kNumber},
    {"repeat_last_n", ParameterType::kInteger, kInt},
    {"temperature", ParameterType::kFloat, kNumber},
    {"repeat_penalty", ParameterType::kFloat, {0, kNumberMax}},
    {"presence_penalty", ParameterType::kFloat, kNumber},
    {"frequency_penalty", ParameterType::kFloat, kNumber},
    {"stop", ParameterType::kStrings},
    {"num_ctx", ParameterType::kInteger, kInt},
    {"num_batch", ParameterType::kInteger, kInt},
    {"num_gpu", ParameterType::kInteger, kInt},
    {"main_gpu", ParameterType::kInteger, {kInt.least, kMainGpuMax}},
    {"use_mmap", ParameterType::kBoolean},
    {"num_thread", ParameterType::kInteger, {kInt.least, kThreadsMax}},
    {"draft_num_predict", ParameterType::kInteger, kInt},
    {"think", ParameterType::kThink},
};

constexpr std::string_view kDeprecated[] = {
    "penalize_newline", "low_vram", "f16_kv",       "logits_all",   "vocab_only",
    "use_mlock",        "mirostat", "mirostat_tau", "mirostat_eta",
};

// Of names that are no options, in the log.
constexpr std::size_t kUnknownShownMax = 5;
constexpr std::size_t kNameShownMax = 64;  // bytes

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
      if (value.is_string()) return ordered_json::array({value});  // as OpenAI's clients write it
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

const Parameter* find(std::string_view name) {
  const auto* parameter = std::find_if(std::begin(kParameters), std::end(kParameters),
                                       [name](const Parameter& entry) { return entry.name == name; });
  return parameter == std::end(kParameters) ? nullptr : parameter;
}

Result<void> check_strings(std::string_view name, const ordered_json& list) {
  if (!list.is_array()) return {};
  if (list.size() > kStopsMax)
    return invalid(fmt::format("option \"{}\" must have at most {} strings", name, kStopsMax));
  for (const ordered_json& text : list) {
    if (text.is_string() && text.get_ref<const std::string&>().size() > kStopBytesMax)
      return invalid(fmt::format("option \"{}\" must have strings of at most {} bytes", name, kStopBytesMax));
  }
  return {};
}

// One line about all the names that are no options, however many there are and however long.
void tell_unknown(std::span<const std::string_view> names, std::size_t count) {
  if (count == 0) return;
  std::string shown;
  for (const std::string_view name : names) {
    if (!shown.empty()) shown += ", ";
    append_quoted(shown, name.substr(0, kNameShownMax));
  }
  const std::string more = count > names.size() ? fmt::format(" and {} more", count - names.size()) : "";
  spdlog::warn("invalid option provided: {}{}", shown, more);
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
  for (const auto& [name, value] : options.items()) {
    const Parameter* parameter = find(name);
    if (parameter == nullptr) continue;
    if (parameter->type == ParameterType::kStrings) {
      if (auto checked = check_strings(name, value); !checked) return checked;
    } else if (value.is_number()) {
      const auto number = value.get<double>();
      if (number > parameter->range.most)
        return invalid(fmt::format("option \"{}\" must be at most {:.0f}", name, parameter->range.most));
      if (!(number >= parameter->range.least))
        return invalid(fmt::format("option \"{}\" must be at least {:.0f}", name, parameter->range.least));
    }
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
  std::vector<std::string_view> unknown;
  std::size_t unknown_count = 0;
  for (const auto& [name, value] : options.items()) {
    const Parameter* parameter = find(name);
    if (parameter == nullptr) {
      if (is_deprecated_parameter(name)) continue;
      if (++unknown_count <= kUnknownShownMax) unknown.push_back(name);
      continue;
    }
    if (value.is_null()) continue;
    Result<ordered_json> result = check_option(*parameter, value);
    if (!result) return std::move(result).error();
    checked[name] = std::move(*result);
  }
  tell_unknown(unknown, unknown_count);
  return checked;
}

}  // namespace drover
