// The commands that talk to a server.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace drover::cli {

// Adds create, show, run, stop, pull, push, list (ls), ps, cp, rm, top and bench to `app`, at most one of which is
// given at a time. A command runs within app.parse() and leaves its exit code in `exit_code`, which must outlive the
// parsing: 0, or 1 after an "Error: …" line on standard error. The server is that of OLLAMA_HOST. What is wrong with
// the arguments is said in the same way, by app.exit().
void add_client_commands(CLI::App& app, int& exit_code);

// What --version prints: the server's version, or that there is none, and ours if it differs.
void print_version(const std::string& own_version);

}  // namespace drover::cli
