// The parts of the server's log that have a form of their own: a line for each request, and what runners say. Both go
// to the default logger's sink; by the logger's name, its formatter tells them from the rest.
#pragma once

#include <spdlog/logger.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace drover {

// Its lines are those of request_line().
inline constexpr std::string_view kRequestLogger = "request";
// Loggers whose names begin with this belong to a model, whose name follows.
inline constexpr std::string_view kModelLoggerPrefix = "model ";

// Logs as the default logger does, under another name.
std::shared_ptr<spdlog::logger> named_logger(std::string_view name);

// Takes the lines that a runner writes to its standard error into the log, under its model's name. Its logger puts the
// level in front of the text as syslog counts it ("<7>" debug, "<6>" info, "<4>" warning, "<3>" error); lines without
// are a library's, often its last words, and count as warnings. What is more than a LogAllowance is left out and
// counted. May outlive everything but the log.
std::function<void(std::string_view line)> runner_log(const std::string& model);

}  // namespace drover
