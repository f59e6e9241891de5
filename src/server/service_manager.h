// Tells the service manager that started us, systemd as a rule, how we are: sd_notify(3)'s protocol, one datagram a
// message. Any thread; nothing here blocks.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace drover::server {

class ServiceManager {
 public:
  // Reads NOTIFY_SOCKET (a path, or "@" and a name in Linux' abstract namespace), WATCHDOG_USEC and WATCHDOG_PID
  // through `get`, which gives nullptr where a name is not set.
  explicit ServiceManager(const std::function<const char*(const char*)>& get);
  // Reads them from the environment and removes them there: what we start speaks for itself.
  static ServiceManager from_environment();

  // Whether there is one that wants to be told.
  bool listens() const { return !socket_.empty(); }
  // How often "WATCHDOG=1" has to come: half of the silence after which it takes us for dead. nullopt: it does not
  // care.
  std::optional<Duration> watchdog_interval() const { return watchdog_interval_; }
  // Lines such as "READY=1" and "STATUS=…". Does nothing if nobody listens. Error: the message was not taken.
  Result<void> tell(std::string_view state) const;

 private:
  std::string socket_;
  std::optional<Duration> watchdog_interval_;
};

}  // namespace drover::server
