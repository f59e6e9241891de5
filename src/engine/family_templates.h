// The chat templates of llama.cpp's source that stand in for Ollama's renderers; cmake/embed.cmake puts them into the
// program.
#pragma once

#include <span>
#include <string_view>

namespace drover {

struct FamilyTemplate {
  std::string_view name;   // the file's, as store/renderers.cc has it: "Qwen3.5-4B.jinja"
  std::string_view bytes;  // jinja
};

std::span<const FamilyTemplate> family_templates();

}  // namespace drover
