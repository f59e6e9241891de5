// Standard output and standard error of the CLI.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include "base/result.h"
#include "terminal/terminal.h"

namespace drover::cli {

// Writes to standard output, at once: answers are read while they are being made.
inline void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// "Error: <text>" on standard error.
inline void print_error(const Error& error) {
  const std::string line = "Error: " + printable(error.message) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace drover::cli
