#include "server/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/formatter.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>

#include "base/quote.h"
#include "base/utf8.h"
#include "fleet/server_log.h"
#include "server/line_writer.h"

namespace drover::server {
namespace {

using spdlog::details::log_msg;

// Of one message; what is beyond it is counted.
constexpr std::size_t kMessageBytesMax = 4 << 10;
// What is not written when the server ends has so long.
constexpr auto kEndGrace = std::chrono::milliseconds(500);

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

// A message without the ends of its last line, and not longer than it may be.
std::string cut(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return shortened(text, kMessageBytesMax);
}

// The same as a part of a line, which it cannot leave.
std::string cleaned(std::string_view text) {
  std::string clean;
  append_escaped(clean, cut(text));
  return clean;
}

class TextFormatter final : public spdlog::formatter {
 public:
  void format(const log_msg& message, spdlog::memory_buf_t& out) override {
    prefix_.format(message, out);
    if (const std::string_view model = model_of(message); !model.empty()) {
      append(out, "[");
      append(out, cleaned(model));
      append(out, "] ");
    }
    if (view(message.logger_name) == kRequestLogger) {  // its fields are bounded one by one
      line_.clear();
      append_escaped(line_, view(message.payload));
      append(out, line_);
    } else {
      append(out, cleaned(view(message.payload)));
    }
    append(out, "\n");
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<TextFormatter>(); }

 private:
  std::string line_;
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
      append_quoted(line_, cut(view(message.payload)));
    }
    line_ += "}\n";
    append(out, line_);
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }

 private:
  std::string line_;
};

// A line of a runner's log.
class RunnerFormatter final : public spdlog::formatter {
 public:
  void format(const log_msg& message, spdlog::memory_buf_t& out) override {
    append(out, level_of(message.level));
    append(out, cleaned(view(message.payload)));
    append(out, "\n");
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<RunnerFormatter>(); }

 private:
  static std::string_view level_of(spdlog::level::level_enum level) {
    if (level <= spdlog::level::debug) return "<7>";
    if (level == spdlog::level::info) return "<6>";
    return level == spdlog::level::warn ? "<4>" : "<3>";
  }
};

std::string formatted(spdlog::formatter& formatter, const log_msg& message) {
  spdlog::memory_buf_t line;
  formatter.format(message, line);
  return {line.data(), line.size()};
}

// Gives the lines to a LineWriter.
class WriterSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  WriterSink(std::shared_ptr<LineWriter> writer, std::unique_ptr<spdlog::formatter> formatter)
      : base_sink(std::move(formatter)), writer_(std::move(writer)) {}

 protected:
  void sink_it_(const log_msg& message) override { writer_->write(formatted(*formatter_, message)); }
  void flush_() override {}

 private:
  const std::shared_ptr<LineWriter> writer_;
};

std::unique_ptr<spdlog::formatter> server_formatter(LogFormat format) {
  if (format == LogFormat::kJson) return std::make_unique<JsonFormatter>();
  return std::make_unique<TextFormatter>();
}

std::shared_ptr<LineWriter> make_writer(LogFormat format) {
  const std::shared_ptr<spdlog::formatter> formatter = server_formatter(format);
  const auto notice = [formatter](std::uint64_t left_out) {
    const std::string text = fmt::format("{} lines of the log were not written: nobody took them in time", left_out);
    return formatted(*formatter, log_msg("drover", spdlog::level::warn, text));
  };
  return std::make_shared<LineWriter>(STDERR_FILENO, LineWriter::Bounds{}, notice);
}

void set_up(const std::shared_ptr<spdlog::logger>& logger, bool debug) {
  logger->set_level(debug ? spdlog::level::debug : spdlog::level::info);
  spdlog::set_default_logger(logger);
}

// ---- the last words of a process that crashes

constexpr std::array kCrashes = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
std::array<struct sigaction, kCrashes.size()> actions_before;
std::atomic<const std::atomic<std::size_t>*> unwritten{nullptr};

// The thread that writes goes on while this one waits for it. Calls only what a signal handler may.
void on_crash(int signal, siginfo_t* info, void*) {
  constexpr timespec kPause = {0, 2'000'000};
  constexpr int kPausesMax = 125;
  const std::atomic<std::size_t>* left = unwritten.load();
  for (int i = 0; i < kPausesMax && left != nullptr && left->load() > 0; ++i) ::nanosleep(&kPause, nullptr);
  for (std::size_t i = 0; i < kCrashes.size(); ++i) {
    if (kCrashes[i] == signal) ::sigaction(signal, &actions_before[i], nullptr);
  }
  // A fault occurs again when this returns; what was sent has to be sent again.
  if (info->si_code <= 0) ::raise(signal);
}

void watch_crashes(const LineWriter& writer) {
  unwritten = &writer.unwritten();
  struct sigaction action {};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO;
  for (std::size_t i = 0; i < kCrashes.size(); ++i) ::sigaction(kCrashes[i], &action, &actions_before[i]);
  // The library's own words would wait for a stuck reader.
  std::set_terminate([] {
    try {
      if (const auto what = std::current_exception()) std::rethrow_exception(what);
    } catch (const std::exception& exception) {
      spdlog::critical("the server has failed: {}", exception.what());
    } catch (...) {
    }
    std::abort();
  });
}

void unwatch_crashes() {
  for (std::size_t i = 0; i < kCrashes.size(); ++i) ::sigaction(kCrashes[i], &actions_before[i], nullptr);
  unwritten = nullptr;
}

}  // namespace

ServerLog::ServerLog(LogFormat format, bool debug) : writer_(make_writer(format)) {
  auto sink = std::make_shared<WriterSink>(writer_, server_formatter(format));
  set_up(std::make_shared<spdlog::logger>("drover", std::move(sink)), debug);
  watch_crashes(*writer_);
}

ServerLog::~ServerLog() {
  writer_->finish(kEndGrace);
  unwatch_crashes();
}

void set_up_runner_log(bool debug) {
  auto logger = spdlog::stderr_logger_mt("drover");
  logger->set_formatter(std::make_unique<RunnerFormatter>());
  set_up(logger, debug);
}

}  // namespace drover::server
