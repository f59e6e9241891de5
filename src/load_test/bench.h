// `drover bench`: a load test of any server that speaks Ollama's or OpenAI's API.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace drover::cli {

// Adds the command to `app`; see add_client_commands(). The exit code is 0 if every level had an answer, 1 after an
// error, 130 if it was interrupted.
void add_bench(CLI::App& app, int& exit_code);

}  // namespace drover::cli
