#include "cli/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

#include "base/settings.h"
#include "cli/answer.h"
#include "cli/bench.h"
#include "cli/create.h"
#include "cli/format.h"
#include "cli/launch.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/show.h"
#include "cli/table.h"
#include "cli/top.h"
#include "cli/transfer.h"

namespace drover::cli {
namespace {

constexpr std::size_t kShownDigestDigits = 12;

constexpr const char* kHostFooter = R"(Environment Variables:
      OLLAMA_HOST                IP Address for the server (default 127.0.0.1:11434))";
constexpr const char* kRunFooter = R"(Environment Variables:
      OLLAMA_HOST                IP Address for the server (default 127.0.0.1:11434)
      OLLAMA_NOHISTORY           Do not preserve readline history)";

// Runs one command, and turns its outcome into an exit code.
int run_command(const std::function<Result<int>(ApiClient&)>& command) {
  // A closed standard output ends the program, as it does for other tools: `drover list | head -1`.
  std::signal(SIGPIPE, SIG_DFL);
  use_utf8_locale();
  const auto address = server_address();
  if (!address.ok()) {
    print_error(address.error());
    return 1;
  }
  ApiClient client(*address);
  const auto outcome = command(client);
  if (outcome.ok()) return *outcome;
  print_error(outcome.error());
  return 1;
}

Result<int> exit_code_of(const Result<void>& result) {
  if (!result.ok()) return result.error();
  return 0;
}

Timestamp now() {
  return std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

std::string time_text(const Json& object, std::string_view field) {
  const auto when = parse_timestamp(text_field(object, field));
  return when ? human_time(*when, now()) : "Never";
}

std::string short_digest(const Json& model) {
  std::string digest = text_field(model, "digest");
  if (digest.starts_with("sha256:")) digest.erase(0, 7);
  return digest.substr(0, kShownDigestDigits);
}

bool begins_with(const std::string& name, const std::string& prefix) {
  const auto same = [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); };
  return name.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), name.begin(), same);
}

std::string processor_text(std::uint64_t bytes, std::uint64_t device_bytes) {
  if (device_bytes == 0) return "100% CPU";
  if (device_bytes == bytes) return "100% GPU";
  if (device_bytes > bytes) return "Unknown";
  const double host_part = static_cast<double>(bytes - device_bytes) / static_cast<double>(bytes);
  const int percent = static_cast<int>(std::round(host_part * 100));
  return fmt::format("{}%/{}% CPU/GPU", percent, 100 - percent);
}

std::string until_text(const Json& model) {
  const auto when = parse_timestamp(text_field(model, "expires_at"));
  if (!when) return "Never";
  const std::string text = human_time(*when, now());
  return text.ends_with(" ago") ? "Stopping..." : text;
}

// What a model that is in memory does; empty: the server does not say.
std::string tasks_text(const Json& model) {
  std::string text;
  for (const Json& task : array_field(model, "tasks")) {
    text += (text.empty() ? "" : ", ") + text_field(task, "task");
  }
  return text;
}

Result<void> list_running(ApiClient& client, const std::string& prefix) {
  const auto answer = client.get("/api/ps");
  if (!answer.ok()) return answer.error();
  const Json& models = array_field(*answer, "models");
  std::vector<TableRow> rows = {{"NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"}};
  // Ollama's table, and one column more where it would not say all.
  const bool with_tasks = std::any_of(models.begin(), models.end(), [](const Json& model) {
    const std::string tasks = tasks_text(model);
    return !tasks.empty() && tasks != "completion";
  });
  if (with_tasks) rows.front().emplace_back("TASKS");
  for (const Json& model : models) {
    const std::string name = text_field(model, "name");
    if (!begins_with(name, prefix)) continue;
    const std::uint64_t bytes = count_field(model, "size");
    rows.push_back({name, short_digest(model), human_bytes(bytes),
                    processor_text(bytes, count_field(model, "size_vram")),
                    std::to_string(count_field(model, "context_length")), until_text(model)});
    if (with_tasks) rows.back().push_back(tasks_text(model));
  }
  print(format_table(rows));
  return {};
}

Result<void> copy_model(ApiClient& client, const std::string& source, const std::string& destination) {
  const auto copied = client.post("/api/copy", {{"source", source}, {"destination", destination}});
  if (!copied.ok()) return copied.error();
  print(fmt::format("copied '{}' to '{}'\n", source, destination));
  return {};
}

Json unload_request(const std::string& model) {
  return {{"model", model}, {"keep_alive", 0}};
}

Result<void> remove_models(ApiClient& client, const std::vector<std::string>& models) {
  for (const std::string& model : models) {
    // It is unloaded first, as far as it is loaded. The server says below if there is no such model.
    const auto unloaded = load_model(client, unload_request(model));
    if (!unloaded.ok() && unloaded.error().code != ErrorCode::kNotFound) {
      if (unloaded.error().code == ErrorCode::kUnavailable) return unloaded;
      std::fputs(fmt::format("Warning: unable to stop model '{}'\n", model).c_str(), stderr);
    }
    const auto removed = client.remove("/api/delete", {{"model", model}});
    if (!removed.ok()) return removed.error();
    print(fmt::format("deleted '{}'\n", model));
  }
  return {};
}

Result<void> stop_model(ApiClient& client, const std::string& model) {
  const auto stopped = load_model(client, unload_request(model));
  if (!stopped.ok() && stopped.error().code == ErrorCode::kNotFound) {
    return not_found(fmt::format("couldn't find model {} to stop", in_quotes(model)));
  }
  return stopped;
}

struct ShowArguments {
  std::string model;
  bool license = false;
  bool modelfile = false;
  bool parameters = false;
  bool system = false;
  bool template_text = false;
  bool verbose = false;
};

Result<void> show_model(ApiClient& client, const ShowArguments& arguments) {
  std::vector<std::string> fields;
  if (arguments.license) fields.push_back("license");
  if (arguments.modelfile) fields.push_back("modelfile");
  if (arguments.parameters) fields.push_back("parameters");
  if (arguments.system) fields.push_back("system");
  if (arguments.template_text) fields.push_back("template");
  if (fields.size() > 1) {
    return invalid(
        "only one of '--license', '--modelfile', '--parameters', '--system', or '--template' can be specified");
  }
  Json request = {{"model", arguments.model}};
  if (arguments.verbose) request["verbose"] = true;
  const auto shown = client.post("/api/show", request);
  if (!shown.ok()) return shown.error();
  if (fields.empty()) {
    print(format_show(*shown, arguments.verbose ? Detail::kVerbose : Detail::kNormal));
    return {};
  }
  // These are for use elsewhere (`show --modelfile m > Modelfile`), so they are not touched.
  const std::string text = text_field(*shown, fields.front());
  print(text.ends_with('\n') ? text : text + "\n");
  return {};
}

// Each of the functions below adds one command. What its options are read into belongs to the command's callback.

void add_create(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("create", "Create a model");
  auto arguments = std::make_shared<CreateArguments>();
  command->add_option("MODEL", arguments->model, "Name of the new model")->required()->type_name("");
  command->add_option("-f,--file", arguments->file, "Name of the Modelfile (default \"Modelfile\")")->type_name("FILE");
  command->add_option("-q,--quantize", arguments->quantize, "Quantize model to this level (e.g. q4_K_M)")
      ->type_name("LEVEL");
  command->footer(kHostFooter);
  command->callback([arguments, &exit_code] {
    exit_code = run_command([&](ApiClient& client) { return exit_code_of(create_model(client, *arguments)); });
  });
}

void add_show(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("show", "Show information for a model");
  auto arguments = std::make_shared<ShowArguments>();
  command->add_option("MODEL", arguments->model, "Name of the model")->required()->type_name("");
  command->add_flag("--license", arguments->license, "Show license of a model");
  command->add_flag("--modelfile", arguments->modelfile, "Show Modelfile of a model");
  command->add_flag("--parameters", arguments->parameters, "Show parameters of a model");
  command->add_flag("--template", arguments->template_text, "Show template of a model");
  command->add_flag("--system", arguments->system, "Show system message of a model");
  command->add_flag("-v,--verbose", arguments->verbose, "Show detailed model information");
  command->footer(kHostFooter);
  command->callback([arguments, &exit_code] {
    exit_code = run_command([&](ApiClient& client) { return exit_code_of(show_model(client, *arguments)); });
  });
}

void add_run(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("run", "Run a model");
  auto arguments = std::make_shared<RunArguments>();
  command->add_option("MODEL", arguments->model, "Name of the model")->required()->type_name("");
  auto* prompt = command->add_option("PROMPT", arguments->prompt, "What to ask; without it, a conversation begins");
  prompt->type_name("");
  command->add_option("--keepalive", arguments->keep_alive, "Duration to keep a model loaded (e.g. 5m)")
      ->type_name("DURATION");
  command->add_flag("--verbose", arguments->verbose, "Show timings for response");
  command->add_flag("--insecure", arguments->insecure, "Use an insecure registry");
  command->add_flag("--nowordwrap", arguments->no_word_wrap, "Don't wrap words to the next line automatically");
  command->add_option("--format", arguments->format, "Response format (e.g. json)")->type_name("FORMAT");
  command->add_flag("--think", arguments->think,
                    "Enable thinking mode: true/false or high/medium/low for supported models");
  command->add_flag("--hidethinking", arguments->hide_thinking, "Hide thinking output (if provided)");
  command->add_option("--dimensions", arguments->dimensions, "Numbers in the vector of a model that embeds")
      ->check(CLI::NonNegativeNumber)
      ->type_name("INT");
  command->add_flag(
      "--truncate", arguments->truncate,
      "For a model that embeds: cut a text that is too long, as is the default (--truncate=false: refuse)");
  command->footer(kRunFooter);
  command->callback([arguments, prompt, &exit_code] {
    arguments->prompt = prompt->results();  // As they were typed: CLI11 has its own idea of what "{}" means.
    exit_code = run_command([&](ApiClient& client) { return run_model(client, *arguments); });
  });
}

struct LaunchArguments {
  std::string program;
  std::string model;
  std::vector<std::string> others;
};

void add_launch(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("launch", "Say how Codex, Claude Code and others are started with this server");
  auto arguments = std::make_shared<LaunchArguments>();
  command->add_option("PROGRAM", arguments->program, "Name of the program; without it, the list")->type_name("");
  command->add_option("--model", arguments->model, "Name of the model")->type_name("MODEL");
  command->add_option("ARGUMENTS", arguments->others, "What is meant for the program; left out here")->type_name("");
  command->allow_extras();
  command->footer(kHostFooter);
  command->callback([arguments, &exit_code] {
    exit_code = run_command([&](ApiClient& client) -> Result<int> {
      const auto url = server_url("");
      if (!url.ok()) return url.error();
      const auto text = launch_text(client, *url, arguments->program, arguments->model);
      if (!text.ok()) return text.error();
      print(*text);
      return 0;
    });
  });
}

void add_stop(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("stop", "Stop a running model");
  auto model = std::make_shared<std::string>();
  command->add_option("MODEL", *model, "Name of the model")->required()->type_name("");
  command->footer(kHostFooter);
  command->callback([model, &exit_code] {
    exit_code = run_command([&](ApiClient& client) { return exit_code_of(stop_model(client, *model)); });
  });
}

using TransferFunction = Result<void> (*)(ApiClient&, const TransferArguments&);

void add_transfer(CLI::App* command, int& exit_code, TransferFunction transfer) {
  auto arguments = std::make_shared<TransferArguments>();
  command->add_option("MODEL", arguments->model, "Name of the model")->required()->type_name("");
  command->add_flag("--insecure", arguments->insecure, "Use an insecure registry");
  command->footer(kHostFooter);
  command->callback([arguments, transfer, &exit_code] {
    exit_code = run_command([&](ApiClient& client) { return exit_code_of(transfer(client, *arguments)); });
  });
}

using ListFunction = Result<void> (*)(ApiClient&, const std::string&);

void add_list(CLI::App* command, int& exit_code, ListFunction list) {
  auto prefix = std::make_shared<std::string>();
  command->add_option("PREFIX", *prefix, "Only models whose names begin with this")->type_name("");
  command->footer(kHostFooter);
  command->callback([prefix, list, &exit_code] {
    exit_code = run_command([&](ApiClient& client) { return exit_code_of(list(client, *prefix)); });
  });
}

void add_copy(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("cp", "Copy a model");
  auto source = std::make_shared<std::string>();
  auto destination = std::make_shared<std::string>();
  command->add_option("SOURCE", *source, "Name of the model")->required()->type_name("");
  command->add_option("DESTINATION", *destination, "Name of the copy")->required()->type_name("");
  command->footer(kHostFooter);
  command->callback([source, destination, &exit_code] {
    exit_code = run_command([&](ApiClient& client) { return exit_code_of(copy_model(client, *source, *destination)); });
  });
}

void add_remove(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("rm", "Remove a model");
  auto models = std::make_shared<std::vector<std::string>>();
  command->add_option("MODEL", *models, "Names of the models")->required()->type_name("");
  command->footer(kHostFooter);
  command->callback([models, &exit_code] {
    exit_code = run_command([&](ApiClient& client) { return exit_code_of(remove_models(client, *models)); });
  });
}

}  // namespace

// Of all settings a client needs the server's address only; a server's setting that is wrong does not concern it.
Result<HostAddress> server_address() {
  const auto settings = read_settings([](const char* name) -> const char* {
    return std::string_view(name) == "OLLAMA_HOST" ? std::getenv(name) : nullptr;
  });
  if (!settings.ok()) return settings.error();
  return settings->host;
}

Result<std::string> server_url(const std::string& text) {
  if (text.empty()) {
    const auto address = server_address();
    if (!address.ok()) return address.error();
    return client_address(*address).url();
  }
  if (text.find("://") == std::string::npos) {
    const auto address = parse_host(text);
    if (!address.ok()) return address.error();
    return client_address(*address).url();
  }
  std::string url = text;
  while (url.ends_with('/')) url.pop_back();
  if (url.ends_with("/v1")) url.resize(url.size() - 3);
  return url;
}

void add_client_commands(CLI::App& app, int& exit_code) {
  // With at most one, a name behind a command is an argument, also where it is that of another: `run cria list`.
  app.require_subcommand(0, 1);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return fmt::format("Error: {}. Run with --help for more information.\n", error.what());
  });
  add_create(app, exit_code);
  add_show(app, exit_code);
  add_run(app, exit_code);
  add_stop(app, exit_code);
  add_transfer(app.add_subcommand("pull", "Pull a model from a registry"), exit_code, &pull_model);
  add_transfer(app.add_subcommand("push", "Push a model to a registry"), exit_code, &push_model);
  add_list(app.add_subcommand("list", "List models")->alias("ls"), exit_code, &list_models);
  add_list(app.add_subcommand("ps", "List running models"), exit_code, &list_running);
  add_copy(app, exit_code);
  add_remove(app, exit_code);
  add_top(app, exit_code);
  add_bench(app, exit_code);
  add_launch(app, exit_code);
}

void print_version(const std::string& own_version) {
  std::string server;
  if (const auto address = server_address(); address.ok()) {
    ApiClient client(*address);
    if (const auto answer = client.get("/api/version"); answer.ok()) server = server_version(*answer);
  }
  if (server.empty()) {
    print("Warning: could not connect to a running Drover instance\n");
  } else {
    print(fmt::format("drover version is {}\n", printable(server)));
  }
  if (server != own_version) print(fmt::format("Warning: client version is {}\n", own_version));
}

Result<void> list_models(ApiClient& client, const std::string& prefix) {
  const auto answer = client.get("/api/tags");
  if (!answer.ok()) return answer.error();
  std::vector<TableRow> rows = {{"NAME", "ID", "SIZE", "MODIFIED"}};
  for (const Json& model : array_field(*answer, "models")) {
    const std::string name = text_field(model, "name");
    if (!begins_with(name, prefix)) continue;
    rows.push_back(
        {name, short_digest(model), human_bytes(count_field(model, "size")), time_text(model, "modified_at")});
  }
  print(format_table(rows));
  return {};
}

}  // namespace drover::cli
