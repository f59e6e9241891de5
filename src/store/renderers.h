// Ollama's hand-written renderers and parsers, by the names that a model's config gives them. Drover has none of them:
// it renders and parses by the jinja template in the model's file, or, if there is none, by the engine's template for
// the family. Source: Ollama's model/renderers and model/parsers.
#pragma once

#include <string_view>

namespace drover {

struct Renderer {
  std::string_view name;
  std::string_view jinja;  // a file of the engine's models/templates
  bool tools = false;
  bool thinking = false;
};

// Null: no template is known for it.
const Renderer* find_renderer(std::string_view name);

}  // namespace drover
