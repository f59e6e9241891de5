// Runs a parsed template over data, as Go's text/template with the option missingkey=zero.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "template/bounded_text.h"
#include "template/syntax.h"

namespace drover::go_template {

// What one rendering may use in all its executions together, so that a template can neither hang nor eat memory.
struct Budget {
  // A unit is a step, or 64 bytes of text written or compared: less than a second of a processor altogether.
  std::int64_t work_units_max = 10'000'000;
  // All text that functions such as json and print make, whether it is kept or not.
  std::size_t text_bytes_max = 64 << 20;
};

// The text that a rendering may write.
inline constexpr std::size_t kOutputBytesMax = 32 << 20;

// Where a template comes from: its source, for messages, and the templates that it may call by name.
struct Program {
  std::string_view source;
  const SyntaxTree* tree = nullptr;
  std::chrono::system_clock::time_point now;
};

// Writes what the statements say about the data to the output, and takes what it uses from the budget. Error:
// kInvalidArgument, as Go says it: `template: :1:6: executing "" at <.A.B>: nil pointer evaluating interface {}.B`,
// the numbers being the line and the byte in it; kTooLarge if the budget does not suffice.
Result<void> execute(const Program& program, const Statements& root, const Value& data, Budget& budget,
                     BoundedText& output);

}  // namespace drover::go_template
