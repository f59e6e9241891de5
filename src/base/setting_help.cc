#include "base/settings.h"

namespace drover {
namespace {

// Name, default, meaning. docs/settings.md says more of each, and has the same names and defaults (./dev lint).
constexpr SettingHelp kSettings[] = {
    {"OLLAMA_HOST", "127.0.0.1:11434", "Address to listen on: host, :port, host:port, [v6]:port or unix:///path"},
    {"OLLAMA_MODELS", "~/.ollama/models", "Folder of the models"},
    {"OLLAMA_NUM_PARALLEL", "1", "Parallel generations per model; auto: as many as make it faster"},
    {"OLLAMA_MAX_LOADED_MODELS", "0", "Models in memory at the same time; 0: 3 per device"},
    {"OLLAMA_MAX_QUEUE", "512", "Requests that may wait; one more is refused with 503"},
    {"OLLAMA_REQUEST_TIMEOUT", "5m", "How long a request may wait before its generation starts; 0: no limit"},
    {"OLLAMA_KEEP_ALIVE", "5m", "How long an idle model stays in memory; negative: for ever"},
    {"OLLAMA_LOAD_TIMEOUT", "5m", "How long a load may go without progress; 0: no limit"},
    {"OLLAMA_CONTEXT_LENGTH", "0", "Context in tokens for requests without num_ctx; 0: chosen by the server"},
    {"OLLAMA_KV_CACHE_TYPE", "f16", "Type of the KV cache: f16, q8_0 or q4_0"},
    {"OLLAMA_FLASH_ATTENTION", "", "Flash attention: 1 or 0; unset: the engine decides"},
    {"OLLAMA_ORIGINS", "", "Further origins whose pages may use the API, separated by commas"},
    {"OLLAMA_NOPRUNE", "0", "1: do not remove unused blobs at start"},
    {"OLLAMA_DEBUG", "0", "1: log more"},
    {"DROVER_PIN", "", "Models that are loaded at start and stay, separated by commas"},
    {"DROVER_CLIENT_WEIGHTS", "",
     "Shares of clients, as id:batch=0.5,key:1a2b3c4d=4; a client's share is 1 by default"},
    {"DROVER_DEFAULT_THINK", "", "Thinking if the request does not say: true, false, low, medium, high or max"},
    {"DROVER_ITL_TARGET_MS", "0", "Target time between two tokens while prompts are processed, in ms; 0: adaptive"},
    {"DROVER_MAX_TOKENS", "0", "Tokens that one generation may have; 0: no limit"},
    {"DROVER_MAX_GENERATION_TIME", "0", "How long one generation may take; 0: no limit"},
    {"DROVER_BODY_MAX", "67108864", "Bytes of the largest JSON body; a larger one is refused with 413"},
    {"DROVER_CLIENT_TIMEOUT", "5m", "How long a client may read nothing of its answer"},
    {"DROVER_HANG_TIMEOUT", "30s", "How long a busy runner may go without progress"},
    {"DROVER_REGISTRY_TIMEOUT", "30s", "How long a registry's connection may stand still"},
    {"DROVER_SHUTDOWN_TIMEOUT", "30s", "How long running requests may take once the server is told to stop"},
    {"DROVER_SANDBOX", "auto", "Sandbox of the processes that read models: auto, require or off"},
    {"DROVER_CPU_VARIANT", "", "The engine's build for a kind of processor, as haswell; unset: the fastest"},
    {"DROVER_RECORD", "", "File to write what the policy decides by to, without prompts and answers"},
    {"DROVER_LOG_FORMAT", "text", "Format of the log: text or json"},
};

}  // namespace

std::span<const SettingHelp> setting_help() {
  return kSettings;
}

}  // namespace drover
