// What the environment sets, read once at start. Names and defaults are Ollama's where Ollama has them.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drover {

// A place to listen on or to talk to, as OLLAMA_HOST writes it.
struct HostAddress {
  std::string scheme = "http";     // or https, unix
  std::string host = "127.0.0.1";  // without brackets for IPv6; unix: the socket's path
  std::uint16_t port = 11434;
  std::string url() const;  // "http://127.0.0.1:11434"
  bool operator==(const HostAddress&) const = default;
};

// Parses OLLAMA_HOST in all its forms: "", "host", ":port", "host:port", "[v6]:port", "http://host:port/",
// "unix:///path".
Result<HostAddress> parse_host(std::string_view text);

enum class LogFormat { kText, kJson };

// How processes that read models are confined (sandbox/sandbox.h): as far as the kernel can, not, or wholly or not at
// all.
enum class SandboxMode { kAuto, kOff, kRequire };

// How hard a model can be asked to think.
bool is_think_level(std::string_view level);

struct Settings {
  HostAddress host;
  std::filesystem::path models;                                        // OLLAMA_MODELS, default ~/.ollama/models
  int parallel = 1;                                                    // OLLAMA_NUM_PARALLEL; 0: auto
  int loaded_models_max = 0;                                           // OLLAMA_MAX_LOADED_MODELS; 0: 3 per device
  std::size_t queue_max = 512;                                         // OLLAMA_MAX_QUEUE
  std::chrono::nanoseconds request_timeout = std::chrono::minutes(5);  // OLLAMA_REQUEST_TIMEOUT; 0: none
  std::chrono::nanoseconds keep_alive = std::chrono::minutes(5);       // OLLAMA_KEEP_ALIVE; negative: for ever
  std::chrono::nanoseconds load_timeout = std::chrono::minutes(5);     // OLLAMA_LOAD_TIMEOUT, without progress; 0: none
  int context_length = 0;                                              // OLLAMA_CONTEXT_LENGTH; 0: chosen by the server
  std::string kv_cache_type;                                           // OLLAMA_KV_CACHE_TYPE: "", f16, q8_0, q4_0
  std::optional<bool> flash_attention;  // OLLAMA_FLASH_ATTENTION; unset: the engine decides
  std::vector<std::string> origins;     // OLLAMA_ORIGINS, beside the ones that are always allowed
  std::vector<std::string> pinned;      // DROVER_PIN: models loaded at start and never unloaded
  // DROVER_CLIENT_WEIGHTS: clients as lists and logs show them, and their share beside others; by default 1.
  std::map<std::string, double> client_weights;
  std::optional<std::string> default_think;    // DROVER_DEFAULT_THINK: "true", "false", a level; unset: by the model
  int itl_target_ms = 0;                       // DROVER_ITL_TARGET_MS: target time between two tokens; 0: adaptive
  int output_tokens_max = 0;                   // DROVER_MAX_TOKENS per request; 0: no limit
  std::chrono::nanoseconds generation_max{0};  // DROVER_MAX_GENERATION_TIME per request; 0: no limit
  std::string record_file;                     // DROVER_RECORD: the policy's events are written there; empty: not
  bool prune = true;                           // OLLAMA_NOPRUNE: keep blobs that no model refers to
  bool debug = false;                          // OLLAMA_DEBUG
  LogFormat log_format = LogFormat::kText;     // DROVER_LOG_FORMAT: text, json
  SandboxMode sandbox = SandboxMode::kAuto;    // DROVER_SANDBOX: auto, off, require
  std::size_t body_bytes_max = 64u << 20;      // DROVER_BODY_MAX: the largest JSON body that is read
  std::chrono::nanoseconds shutdown_timeout = std::chrono::seconds(30);  // DROVER_SHUTDOWN_TIMEOUT
  std::chrono::nanoseconds hang_timeout = std::chrono::seconds(30);      // DROVER_HANG_TIMEOUT: no progress while busy
  std::chrono::nanoseconds registry_timeout = std::chrono::seconds(30);  // DROVER_REGISTRY_TIMEOUT: pulls that stall
  std::chrono::nanoseconds client_timeout =
      std::chrono::minutes(5);  // DROVER_CLIENT_TIMEOUT: clients that read nothing

  bool operator==(const Settings&) const = default;
};

// Reads the settings through `get` (an environment look-up; nullptr where a name is not set). Values are trimmed of
// spaces and quotes. Error: kInvalidArgument, naming the variable, its value and what it may be.
Result<Settings> read_settings(const std::function<const char*(const char*)>& get);

// One environment variable of the server, for `drover serve --help`. An empty default: there is none.
struct SettingHelp {
  std::string_view name;
  std::string_view standard;  // the default, as the variable would say it
  std::string_view meaning;
};

// All of them, in the order in which they are shown.
std::span<const SettingHelp> setting_help();

}  // namespace drover
