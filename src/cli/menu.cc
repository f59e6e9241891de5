#include "cli/menu.h"

#include <fmt/format.h>

#include <charconv>
#include <csignal>
#include <iostream>
#include <optional>
#include <vector>

#include "base/text.h"
#include "cli/run.h"
#include "cli/transfer.h"
#include "client/address.h"
#include "client/api_client.h"
#include "terminal/format.h"
#include "terminal/output.h"
#include "terminal/table.h"

namespace drover::cli {
namespace {

constexpr std::size_t kModelsShownMax = 15;

std::optional<std::string> ask(const std::string& question) {
  print(question);
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  return std::string(trimmed(line));
}

class Menu {
 public:
  Menu(const HostAddress& address, int& exit_code)
      : url_(client_address(address).url()), client_(address), exit_code_(exit_code) {}

  MenuChoice run() {
    for (;;) {
      show();
      const std::optional<std::string> answer = ask(models_.empty() ? "Choose: " : "Choose (Enter: 1): ");
      if (!answer || *answer == "q" || *answer == "quit") {
        if (!answer) print("\n");
        return MenuChoice::kDone;
      }
      if (*answer == "h" || *answer == "?" || *answer == "help") return MenuChoice::kHelp;
      if (!reachable_ && (*answer == "s" || *answer == "serve")) return MenuChoice::kServe;
      if (reachable_ && (*answer == "p" || *answer == "pull")) {
        if (const std::string model = pull(); !model.empty()) return chat(model);
        continue;
      }
      if (const std::string model = model_of(*answer); !model.empty()) return chat(model);
      if (!answer->empty()) print(fmt::format("There is no \"{}\" in the menu.\n", printable(*answer)));
    }
  }

 private:
  void show() {
    models_.clear();
    std::vector<TableRow> rows;
    const auto answer = client_.get("/api/tags");
    reachable_ = answer.ok();
    std::size_t left_out = 0;
    if (reachable_) {
      for (const Json& model : array_field(*answer, "models")) {
        if (models_.size() == kModelsShownMax) {
          ++left_out;
          continue;
        }
        models_.push_back(text_field(model, "name"));
        rows.push_back({fmt::format("  {}", models_.size()),
                        fmt::format("run {}  ({})", models_.back(), human_bytes(count_field(model, "size")))});
      }
    }
    if (left_out > 0) rows.push_back({"", fmt::format("{} more: drover list", left_out)});
    if (reachable_) rows.push_back({"  p", "pull a model, and run it"});
    if (!reachable_) rows.push_back({"  s", "start a server here (it ends with Ctrl-C)"});
    rows.push_back({"  h", "help: all commands"});
    rows.push_back({"  q", "quit"});
    print(reachable_ ? fmt::format("\nDrover at {}\n\n", url_) : fmt::format("\nNo server answers at {}\n\n", url_));
    for (const TableRow& row : rows) print(fmt::format("{:<5} {}\n", row[0], printable(row[1])));
    print("\n");
  }

  // The model that a number, or its name, stands for; "": none.
  std::string model_of(const std::string& answer) const {
    if (answer.empty()) return models_.empty() ? "" : models_.front();
    std::size_t number = 0;
    const auto parsed = std::from_chars(answer.data(), answer.data() + answer.size(), number);
    const bool whole = parsed.ec == std::errc() && parsed.ptr == answer.data() + answer.size();
    if (whole && number >= 1 && number <= models_.size()) return models_[number - 1];
    for (const std::string& model : models_) {
      if (model == answer || model == answer + ":latest") return model;
    }
    return "";
  }

  std::string pull() {
    const std::optional<std::string> model = ask("Name of the model (as llama3.2): ");
    if (!model || model->empty()) return "";
    const auto pulled = pull_model(client_, {*model, false});
    if (pulled.ok()) return *model;
    print_error(pulled.error());
    return "";
  }

  MenuChoice chat(const std::string& model) {
    RunArguments arguments;
    arguments.model = model;
    const auto outcome = run_model(client_, arguments);
    if (!outcome.ok()) print_error(outcome.error());
    exit_code_ = outcome.ok() ? *outcome : 1;
    return MenuChoice::kDone;
  }

  std::string url_;
  ApiClient client_;
  int& exit_code_;
  bool reachable_ = false;
  std::vector<std::string> models_;
};

}  // namespace

MenuChoice run_menu(int& exit_code) {
  std::signal(SIGPIPE, SIG_DFL);
  use_utf8_locale();
  const auto address = server_address();
  if (!address.ok()) {
    print_error(address.error());
    exit_code = 1;
    return MenuChoice::kDone;
  }
  return Menu(*address, exit_code).run();
}

}  // namespace drover::cli
