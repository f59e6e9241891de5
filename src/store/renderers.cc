#include "store/renderers.h"

#include <algorithm>
#include <iterator>

namespace drover {
namespace {

// cmake/Engine.cmake puts these files into the program.
constexpr Renderer kRenderers[] = {
    {"cohere", "CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja", true, true},
    {"deepseek3", "deepseek-ai-DeepSeek-V3.1.jinja", true, true},
    {"deepseek3.1", "deepseek-ai-DeepSeek-V3.1.jinja", true, true},
    {"gemma4", "google-gemma-4-31B-it.jinja", true, true},
    {"gemma4-large", "google-gemma-4-31B-it.jinja", true, true},
    {"gemma4-no-thinking", "google-gemma-4-31B-it.jinja", true, false},
    {"gemma4-small", "google-gemma-4-31B-it.jinja", true, true},
    {"glimmer", "muse-glimmer.jinja", true, true},
    {"glm-4.7", "GLM-4.7-Flash.jinja", true, true},
    {"harmony", "openai-gpt-oss-120b.jinja", true, true},
    {"laguna", "poolside-Laguna-XS-2.1.jinja", true, true},
    {"lfm2", "LFM2-8B-A1B.jinja", true, false},
    {"lfm2-thinking", "LFM2.5-8B-A1B.jinja", true, true},
    {"ministral", "mistralai-Ministral-3-14B-Reasoning-2512.jinja", true, true},
    {"nemotron-3-nano", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja", true, true},
    {"nemotron-3.5-nano", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja", true, true},
    {"ornith", "Qwen3.5-4B.jinja", true, true},
    {"poolside-v1", "poolside-Laguna-XS-2.1.jinja", true, true},
    {"qwen3", "Qwen-Qwen3-0.6B.jinja", true, true},
    {"qwen3-coder", "Qwen3-Coder.jinja", true, false},
    {"qwen3-thinking", "Qwen-Qwen3-0.6B.jinja", true, true},
    {"qwen3.5", "Qwen3.5-4B.jinja", true, true},
    {"qwen3.6", "Qwen3.5-4B.jinja", true, true},
    {"qwen3.8", "Qwen3.5-4B.jinja", true, true},
};

}  // namespace

const Renderer* find_renderer(std::string_view name) {
  const auto* found = std::find_if(std::begin(kRenderers), std::end(kRenderers),
                                   [name](const Renderer& renderer) { return renderer.name == name; });
  return found == std::end(kRenderers) ? nullptr : found;
}

}  // namespace drover
