// Modelfiles: the recipe of a model as text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drover {

inline constexpr std::size_t kModelfileBytesMax = 16u << 20;

// One command. `name` is "model" for FROM; "license", "template", "system", "adapter", "draft", "renderer", "parser",
// "requires" for themselves; "message" (arguments "<role>: <text>"); anything else is the name of a PARAMETER.
struct ModelfileCommand {
  std::string name;
  std::string arguments;

  std::string to_string() const;  // as a line (or several) of a Modelfile, without the last newline
  friend bool operator==(const ModelfileCommand&, const ModelfileCommand&) = default;
};

struct Modelfile {
  std::vector<ModelfileCommand> commands;

  // Reads UTF-8, with or without a byte order mark, or UTF-16 with one. Errors: kInvalidArgument, "no FROM line",
  // "unexpected EOF", and with the line in front, "(line 3): command must be one of …" and
  // "(line 3): message role must be one of …"; kTooLarge over kModelfileBytesMax.
  static Result<Modelfile> parse(std::string_view text);

  std::string to_string() const;
};

}  // namespace drover
