// The functions that a template may call: Go's own and the four that Ollama adds. `and` and `or` are not among them:
// they leave their later arguments alone once they are decided, so the executor does them.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string_view>

#include "base/result.h"
#include "template/value.h"

namespace drover::go_template {

struct CallContext {
  std::chrono::system_clock::time_point now;
  std::size_t text_bytes_max = 0;  // the longest text that the call may make
};

struct Function {
  static constexpr std::size_t kAnyNumber = ~std::size_t{0};

  std::string_view name;
  std::size_t arguments_min = 0;
  std::size_t arguments_max = 0;
  bool makes_text = false;  // the result is new text, which counts against the limit
  // The number of arguments is as stated above. Error: what Go says after "error calling NAME: ".
  Result<Value> (*call)(std::span<const Value> arguments, const CallContext& context) = nullptr;
};

// Null: there is none.
const Function* find_function(std::string_view name);

// Whether a template may call it: as above, or `and` or `or`.
bool is_function(std::string_view name);

}  // namespace drover::go_template
