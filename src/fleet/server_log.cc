#include "fleet/server_log.h"

#include <spdlog/spdlog.h>

#include <cstdint>
#include <utility>

#include "base/clock.h"
#include "fleet/log_allowance.h"

namespace drover {
namespace {

// Takes the level off the front of a line.
spdlog::level::level_enum take_level(std::string_view& line) {
  if (line.size() < 3 || line[0] != '<' || line[2] != '>') return spdlog::level::warn;
  const char digit = line[1];
  line.remove_prefix(3);
  switch (digit) {
    case '7':
      return spdlog::level::debug;
    case '6':
      return spdlog::level::info;
    case '3':
      return spdlog::level::err;
    default:
      return spdlog::level::warn;
  }
}

}  // namespace

std::shared_ptr<spdlog::logger> named_logger(std::string_view name) {
  const auto parent = spdlog::default_logger();
  auto logger = std::make_shared<spdlog::logger>(std::string(name), parent->sinks().begin(), parent->sinks().end());
  logger->set_level(parent->level());
  logger->flush_on(parent->flush_level());
  return logger;
}

namespace {

// The log of one runner.
class RunnerLog {
 public:
  explicit RunnerLog(std::shared_ptr<spdlog::logger> logger) : logger_(std::move(logger)) {}
  ~RunnerLog() { tell_left_out(); }
  RunnerLog(const RunnerLog&) = delete;
  RunnerLog& operator=(const RunnerLog&) = delete;

  void take(std::string_view line) {
    const auto level = take_level(line);
    if (!logger_->should_log(level)) return;
    if (!allowance_.takes(line.size(), Clock::now())) {
      if (!std::exchange(silent_, true)) logger_->warn("writes more than the log accepts: lines are left out");
      return;
    }
    silent_ = false;
    tell_left_out();
    logger_->log(level, spdlog::string_view_t(line.data(), line.size()));
  }

 private:
  void tell_left_out() {
    if (const std::uint64_t lines = allowance_.take_left_out(); lines > 0)
      logger_->warn("{} lines were left out", lines);
  }

  const std::shared_ptr<spdlog::logger> logger_;
  LogAllowance allowance_;
  bool silent_ = false;
};

}  // namespace

std::function<void(std::string_view)> runner_log(const std::string& model) {
  const auto log = std::make_shared<RunnerLog>(named_logger(std::string(kModelLoggerPrefix) + model));
  return [log](std::string_view line) { log->take(line); };
}

}  // namespace drover
