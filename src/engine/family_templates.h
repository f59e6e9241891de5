// The chat templates from llama.cpp's source that replace Ollama's built-in renderers; cmake/embed.cmake embeds them in
// the program.
#pragma once

#include <span>
#include <string_view>

namespace drover {

struct FamilyTemplate {
  std::string_view name;   // file name, as in store/renderers.cc: "Qwen3.5-4B.jinja"
  std::string_view bytes;  // jinja
};

std::span<const FamilyTemplate> family_templates();

}  // namespace drover
