// Calls a function at a moment to come. I/O thread only.
#pragma once

#include <functional>
#include <memory>

#include "base/clock.h"

namespace boost::asio {
class io_context;
}

namespace drover {

class Alarm {
 public:
  explicit Alarm(boost::asio::io_context& io);
  ~Alarm();  // what has not been called by then never is
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

  // Replaces what was set before.
  void set(TimePoint when, std::function<void()> what);
  void cancel();

 private:
  struct Timer;
  const std::shared_ptr<Timer> timer_;
};

}  // namespace drover
