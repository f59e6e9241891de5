// drover: parses the command line, runs the command, returns its exit code.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/settings.h"
#include "cli/commands.h"
#include "cli/menu.h"
#include "engine/engine_library.h"
#include "engine/quantize.h"
#include "runner/runner.h"
#include "server/log.h"
#include "server/serve.h"
#include "terminal/terminal.h"

namespace {

// The path of this program, for the runners: it stays right if the file is replaced or the folder moved.
std::string own_executable() {
  return "/proc/self/exe";
}

// The server's settings, listed as `ollama serve --help` lists them.
std::string setting_list() {
  std::string list = "Environment Variables:\n";
  for (const drover::SettingHelp& help : drover::setting_help()) {
    const std::string standard = help.standard.empty() ? "" : fmt::format(" (default {})", help.standard);
    list += fmt::format("      {:<27}   {}{}\n", help.name, help.meaning, standard);
  }
  return list;
}

void add_serve(CLI::App& app, int& exit_code) {
  CLI::App* serve = app.add_subcommand("serve", "Start the server")->alias("start");
  serve->footer(setting_list());
  serve->callback([&exit_code] {
    const auto engine = drover::inspect_engine(drover::wanted_variant());
    if (!engine) {
      fmt::print(stderr, "Error: {}\n", engine.error().message);
      exit_code = 1;
      return;
    }
    std::vector<std::string> lines = {engine->line()};
    for (const std::string& why : engine->unloadable)
      lines.push_back("a variant of the engine cannot be loaded: " + why);
    exit_code = drover::server::serve(own_executable(), lines);
  });
}

int run(int argc, char** argv) {
  CLI::App app(
      "LLM server with an Ollama-compatible API, built for concurrent requests.\n\n"
      "  drover serve         start the server\n"
      "  drover run cria      chat with the built-in model\n"
      "  drover run llama3.2  pull a larger model and chat with it\n");
  app.name("drover");
  int exit_code = 0;
  bool version = false;
  app.add_flag("-v,--version", version, "Show version information");

  add_serve(app, exit_code);
  drover::cli::add_client_commands(app, exit_code);

  CLI::App* runner = app.add_subcommand("runner", "Run one model (started by the server)")->group("");
  int descriptor = -1;
  runner->add_option("--descriptor", descriptor, "The socket to the server")->required();
  runner->callback([&] {
    const char* debug = std::getenv("OLLAMA_DEBUG");
    drover::server::set_up_runner_log(debug != nullptr && *debug != '\0' && *debug != '0');
    exit_code = drover::run_runner(descriptor);
  });

  CLI::App* quantize = app.add_subcommand("quantize", "Quantize a model (started by the server)")->group("");
  drover::QuantizeArguments work;
  quantize->add_option("--type", work.file_type)->required();
  quantize->add_option("--target", work.target)->required();
  quantize->add_option("sources", work.sources)->required();
  quantize->callback([&] { exit_code = drover::run_quantize(work); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    if (argc > 1 && argv[1][0] != '-' && app.get_subcommands().empty()) {
      fmt::print(stderr, "Error: there is no command \"{}\"; drover --help lists them\n",
                 drover::cli::printable(argv[1]));
      return 1;
    }
    fmt::print(stderr, "Error: {}\n", error.what());
    return 1;
  }
  if (version) {
    drover::cli::print_version(DROVER_VERSION);
    return 0;
  }
  if (!app.get_subcommands().empty()) return exit_code;
  const bool ask = drover::cli::is_terminal(STDIN_FILENO) && drover::cli::is_terminal(STDOUT_FILENO);
  switch (ask ? drover::cli::run_menu(exit_code) : drover::cli::MenuChoice::kHelp) {
    case drover::cli::MenuChoice::kDone:
      break;
    case drover::cli::MenuChoice::kServe:
      ::execl(own_executable().c_str(), argv[0], "serve", static_cast<char*>(nullptr));
      fmt::print(stderr, "Error: cannot start the server\n");
      return 1;
    case drover::cli::MenuChoice::kHelp:
      fmt::print("{}", app.help());
      break;
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "Error: {}\n", error.what());
    return 1;
  }
}
