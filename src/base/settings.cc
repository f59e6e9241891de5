#include "base/settings.h"

#include <charconv>
#include <system_error>

#include "base/go_duration.h"
#include "base/text.h"

namespace drover {
namespace {

// Left out around a value: shells and unit files leave quotes.
constexpr std::string_view kAround = " \t\r\n\"'";

// Reads typed values and remembers the first one that is wrong.
class Reader {
 public:
  explicit Reader(const std::function<const char*(const char*)>& get) : get_(get) {}

  std::string text(const char* name) {
    const char* value = get_(name);
    return value == nullptr ? std::string() : std::string(trimmed(value, kAround));
  }

  template <typename Int>
  void integer(const char* name, Int& into, long long lowest, long long highest) {
    const std::string value = text(name);
    if (value.empty()) return;
    long long number = 0;
    const auto parsed = std::from_chars(value.data(), value.data() + value.size(), number);
    if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size() || number < lowest || number > highest) {
      fail(name, value, "a whole number from " + std::to_string(lowest) + " to " + std::to_string(highest));
      return;
    }
    into = static_cast<Int>(number);
  }

  void duration(const char* name, std::chrono::nanoseconds& into) {
    const std::string value = text(name);
    if (value.empty()) return;
    const auto parsed = parse_seconds_or_go_duration(value);
    if (!parsed) return fail(name, value, "seconds or a duration such as 90s or 10m");
    into = *parsed;
  }

  std::optional<bool> flag(const char* name) {
    const std::string value = text(name);
    if (value.empty()) return std::nullopt;
    if (value == "1" || value == "t" || value == "T" || value == "true" || value == "TRUE" || value == "True")
      return true;
    if (value == "0" || value == "f" || value == "F" || value == "false" || value == "FALSE" || value == "False") {
      return false;
    }
    fail(name, value, "true or false");
    return std::nullopt;
  }

  void fail(const std::string& name, const std::string& value, const std::string& expected) {
    if (error_.empty()) error_ = name + "=\"" + value + "\" is not valid: it takes " + expected;
  }
  const std::string& error() const { return error_; }

 private:
  const std::function<const char*(const char*)>& get_;
  std::string error_;
};

constexpr long long kParallelMax = 64;
constexpr int kItlTargetMsMax = 60'000;
constexpr double kClientWeightMin = 0.01;
constexpr double kClientWeightMax = 100;
constexpr long long kLoadedModelsMax = 64;
constexpr long long kQueueMax = 1'000'000;
constexpr long long kContextMax = 16'777'216;

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t start = 0;
  while (start <= text.size()) {
    const auto end = std::min(text.find(',', start), text.size());
    const auto first = text.find_first_not_of(' ', start);
    if (first < end) parts.push_back(text.substr(first, text.find_last_not_of(' ', end - 1) + 1 - first));
    start = end + 1;
  }
  return parts;
}

// DROVER_DEFAULT_THINK: a truth value, or how hard.
void read_default_think(Reader& reader, std::optional<std::string>& think) {
  constexpr const char* kName = "DROVER_DEFAULT_THINK";
  const std::string text = reader.text(kName);
  if (text.empty()) return;
  if (is_think_level(text)) {
    think = text;
  } else if (text == "1" || text == "true" || text == "on") {
    think = "true";
  } else if (text == "0" || text == "false" || text == "off") {
    think = "false";
  } else {
    reader.fail(kName, text, "true, false, low, medium, high or max");
  }
}

// DROVER_CLIENT_WEIGHTS: "id:batch=0.5,key:1a2b3c4d=4". The weight follows the last "=", as an id may hold one.
void read_weights(Reader& reader, std::map<std::string, double>& weights) {
  constexpr const char* kName = "DROVER_CLIENT_WEIGHTS";
  for (const std::string& part : split_commas(reader.text(kName))) {
    const auto equals = part.rfind('=');
    double weight = 0;
    if (equals != std::string::npos && equals > 0) {
      const char* end = part.data() + part.size();
      const auto parsed = std::from_chars(part.data() + equals + 1, end, weight);
      if (parsed.ec != std::errc() || parsed.ptr != end) weight = 0;
    }
    if (!(weight >= kClientWeightMin && weight <= kClientWeightMax)) {
      return reader.fail(kName, part, "client=weight with a weight from 0.01 to 100");
    }
    weights[part.substr(0, equals)] = weight;
  }
}

}  // namespace

std::string HostAddress::url() const {
  if (scheme == "unix") return "unix://" + host;
  const bool v6 = host.find(':') != std::string::npos;
  return scheme + "://" + (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<HostAddress> parse_host(std::string_view text) {
  HostAddress address;
  std::string_view rest = text;
  if (const auto scheme_end = rest.find("://"); scheme_end != std::string_view::npos) {
    address.scheme = std::string(rest.substr(0, scheme_end));
    rest.remove_prefix(scheme_end + 3);
    if (address.scheme == "unix") {
      if (rest.empty() || rest.front() != '/')
        return invalid("host \"" + std::string(text) + "\": unix:// takes a full path");
      address.host = std::string(rest);
      address.port = 0;
      return address;
    }
    if (address.scheme != "http" && address.scheme != "https") {
      return invalid("host \"" + std::string(text) + "\": the scheme must be http, https or unix");
    }
    address.port = address.scheme == "https" ? 443 : 80;
  }
  rest = rest.substr(0, rest.find('/'));
  std::string_view port;
  if (!rest.empty() && rest.front() == '[') {
    const auto close = rest.find(']');
    if (close == std::string_view::npos) return invalid("host \"" + std::string(text) + "\": missing ]");
    address.host = std::string(rest.substr(1, close - 1));
    rest.remove_prefix(close + 1);
    if (!rest.empty() && rest.front() != ':')
      return invalid("host \"" + std::string(text) + "\": unexpected text after ]");
    if (!rest.empty()) port = rest.substr(1);
  } else if (const auto colon = rest.find(':');
             colon != std::string_view::npos && rest.find(':', colon + 1) == std::string_view::npos) {
    // A port alone means every address that this machine has.
    address.host = colon > 0 ? std::string(rest.substr(0, colon)) : "0.0.0.0";
    port = rest.substr(colon + 1);
  } else if (!rest.empty()) {
    address.host = std::string(rest);
  }
  if (!port.empty()) {
    unsigned number = 0;
    const auto parsed = std::from_chars(port.data(), port.data() + port.size(), number);
    if (parsed.ec != std::errc() || parsed.ptr != port.data() + port.size() || number > 65535) {
      return invalid("host \"" + std::string(text) + "\": invalid port \"" + std::string(port) + "\"");
    }
    address.port = static_cast<std::uint16_t>(number);
  }
  return address;
}

bool is_think_level(std::string_view level) {
  return level == "low" || level == "medium" || level == "high" || level == "max";
}

Result<Settings> read_settings(const std::function<const char*(const char*)>& get) {
  Settings settings;
  Reader reader(get);
  auto host = parse_host(reader.text("OLLAMA_HOST"));
  if (!host) return invalid("OLLAMA_HOST: " + host.error().message);
  settings.host = *host;
  settings.models = reader.text("OLLAMA_MODELS");
  if (settings.models.empty()) {
    const char* home = get("HOME");
    settings.models = std::filesystem::path(home != nullptr && *home != '\0' ? home : "/") / ".ollama" / "models";
  }
  if (reader.text("OLLAMA_NUM_PARALLEL") == "auto") {
    settings.parallel = 0;
  } else {
    reader.integer("OLLAMA_NUM_PARALLEL", settings.parallel, 0, kParallelMax);
  }
  reader.integer("OLLAMA_MAX_LOADED_MODELS", settings.loaded_models_max, 0, kLoadedModelsMax);
  reader.integer("OLLAMA_MAX_QUEUE", settings.queue_max, 0, kQueueMax);
  reader.integer("OLLAMA_CONTEXT_LENGTH", settings.context_length, 0, kContextMax);
  reader.integer("DROVER_BODY_MAX", settings.body_bytes_max, 1024, 1ll << 40);
  reader.duration("OLLAMA_REQUEST_TIMEOUT", settings.request_timeout);
  reader.duration("OLLAMA_KEEP_ALIVE", settings.keep_alive);
  reader.duration("OLLAMA_LOAD_TIMEOUT", settings.load_timeout);
  reader.duration("DROVER_SHUTDOWN_TIMEOUT", settings.shutdown_timeout);
  reader.duration("DROVER_HANG_TIMEOUT", settings.hang_timeout);
  reader.duration("DROVER_REGISTRY_TIMEOUT", settings.registry_timeout);
  reader.duration("DROVER_CLIENT_TIMEOUT", settings.client_timeout);
  settings.kv_cache_type = reader.text("OLLAMA_KV_CACHE_TYPE");
  if (const auto& type = settings.kv_cache_type; !type.empty() && type != "f16" && type != "q8_0" && type != "q4_0") {
    reader.fail("OLLAMA_KV_CACHE_TYPE", type, "f16, q8_0 or q4_0");
  }
  settings.flash_attention = reader.flag("OLLAMA_FLASH_ATTENTION");
  settings.debug = reader.text("OLLAMA_DEBUG") == "1" || reader.flag("OLLAMA_DEBUG").value_or(false);
  if (const std::string format = reader.text("DROVER_LOG_FORMAT"); format == "json") {
    settings.log_format = LogFormat::kJson;
  } else if (!format.empty() && format != "text") {
    reader.fail("DROVER_LOG_FORMAT", format, "text or json");
  }
  if (const std::string sandbox = reader.text("DROVER_SANDBOX"); sandbox == "off") {
    settings.sandbox = SandboxMode::kOff;
  } else if (sandbox == "require") {
    settings.sandbox = SandboxMode::kRequire;
  } else if (!sandbox.empty() && sandbox != "auto") {
    reader.fail("DROVER_SANDBOX", sandbox, "auto, off or require");
  }
  settings.pinned = split_commas(reader.text("DROVER_PIN"));
  settings.record_file = reader.text("DROVER_RECORD");
  read_weights(reader, settings.client_weights);
  read_default_think(reader, settings.default_think);
  reader.integer("DROVER_ITL_TARGET_MS", settings.itl_target_ms, 0, kItlTargetMsMax);
  reader.integer("DROVER_MAX_TOKENS", settings.output_tokens_max, 0, 1ll << 30);
  reader.duration("DROVER_MAX_GENERATION_TIME", settings.generation_max);
  settings.prune = !reader.flag("OLLAMA_NOPRUNE").value_or(false);
  settings.origins = split_commas(reader.text("OLLAMA_ORIGINS"));
  if (!reader.error().empty()) return invalid(reader.error());
  return settings;
}

}  // namespace drover
