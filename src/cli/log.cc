#include "cli/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/formatter.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <iterator>
#include <memory>
#include <string>

#include "base/quote.h"
#include "dispatch/server_log.h"

namespace drover::cli {
namespace {

using spdlog::details::log_msg;

std::string_view view(spdlog::string_view_t text) {
  return {text.data(), text.size()};
}

// The model whose runner speaks; empty: the server itself does.
std::string_view model_of(const log_msg& message) {
  std::string_view name = view(message.logger_name);
  if (!name.starts_with(kModelLoggerPrefix)) return {};
  name.remove_prefix(kModelLoggerPrefix.size());
  return name;
}

void append(spdlog::memory_buf_t& out, std::string_view text) {
  out.append(text.data(), text.data() + text.size());
}

class TextFormatter final : public spdlog::formatter {
 public:
  void format(const log_msg& message, spdlog::memory_buf_t& out) override {
    prefix_.format(message, out);
    if (const std::string_view model = model_of(message); !model.empty()) {
      append(out, "[");
      append(out, model);
      append(out, "] ");
    }
    append(out, view(message.payload));
    append(out, "\n");
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<TextFormatter>(); }

 private:
  spdlog::pattern_formatter prefix_{"%Y-%m-%dT%H:%M:%S.%e %-5l ", spdlog::pattern_time_type::local, ""};
};

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const log_msg& message, spdlog::memory_buf_t& out) override {
    using std::chrono::milliseconds;
    const auto since_epoch = std::chrono::duration_cast<milliseconds>(message.time.time_since_epoch()).count();
    line_.clear();
    fmt::format_to(std::back_inserter(line_), R"({{"time":"{:%Y-%m-%dT%H:%M:%S}.{:03}Z","level":"{}",)",
                   fmt::gmtime(static_cast<std::time_t>(since_epoch / 1000)), since_epoch % 1000,
                   view(spdlog::level::to_string_view(message.level)));
    if (view(message.logger_name) == kRequestLogger) {
      line_ += "\"message\":\"request\",";
      line_ += view(message.payload);
    } else {
      if (const std::string_view model = model_of(message); !model.empty()) {
        line_ += "\"model\":";
        append_quoted(line_, model);
        line_ += ',';
      }
      line_ += "\"message\":";
      append_quoted(line_, view(message.payload));
    }
    line_ += "}\n";
    append(out, line_);
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }

 private:
  std::string line_;
};

// A line of a runner's log. A text of several lines becomes several, each with its level.
class RunnerFormatter final : public spdlog::formatter {
 public:
  void format(const log_msg& message, spdlog::memory_buf_t& out) override {
    std::string_view rest = view(message.payload);
    while (!rest.empty()) {
      const auto end = std::min(rest.find('\n'), rest.size());
      append(out, level_of(message.level));
      append(out, rest.substr(0, end));
      append(out, "\n");
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<RunnerFormatter>(); }

 private:
  static std::string_view level_of(spdlog::level::level_enum level) {
    if (level <= spdlog::level::debug) return "<7>";
    if (level == spdlog::level::info) return "<6>";
    return level == spdlog::level::warn ? "<4>" : "<3>";
  }
};

void set_up(std::unique_ptr<spdlog::formatter> formatter, bool debug) {
  auto logger = spdlog::stderr_logger_mt("drover");
  logger->set_formatter(std::move(formatter));
  logger->set_level(debug ? spdlog::level::debug : spdlog::level::info);
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace

void set_up_server_log(LogFormat format, bool debug) {
  if (format == LogFormat::kJson) {
    set_up(std::make_unique<JsonFormatter>(), debug);
  } else {
    set_up(std::make_unique<TextFormatter>(), debug);
  }
}

void set_up_runner_log(bool debug) {
  set_up(std::make_unique<RunnerFormatter>(), debug);
}

}  // namespace drover::cli
