// The file that the lines of the REPL are remembered in.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace drover::cli {

// The last `lines_max` lines of the file; none if it cannot be read. A file that has grown to twice that is cut to it.
std::vector<std::string> load_history(const std::filesystem::path& file, std::size_t lines_max, std::size_t bytes_max);

// Adds a line, and makes the file (for its owner only) and its folder if need be. Failure is of no consequence.
void append_history(const std::filesystem::path& file, const std::string& line);

}  // namespace drover::cli
