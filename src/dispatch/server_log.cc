#include "dispatch/server_log.h"

#include <spdlog/spdlog.h>

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

std::function<void(std::string_view)> runner_log(const std::string& model) {
  return [logger = named_logger(std::string(kModelLoggerPrefix) + model)](std::string_view line) {
    const auto level = take_level(line);
    logger->log(level, spdlog::string_view_t(line.data(), line.size()));
  };
}

}  // namespace drover
