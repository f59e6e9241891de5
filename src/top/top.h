// `drover top`: what a server is doing, on the terminal, as it happens.
#pragma once

#include <CLI/CLI.hpp>

namespace drover::cli {

// Adds the command to `app`; see add_client_commands(). It needs a terminal and reads the public API only: /api/ps and
// /api/version, and where the server has them /api/queue and /metrics.
void add_top(CLI::App& app, int& exit_code);

}  // namespace drover::cli
