#include "fleet/alarm.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <utility>

namespace drover {

struct Alarm::Timer {
  explicit Timer(boost::asio::io_context& io) : timer(io) {}
  boost::asio::steady_timer timer;
  std::uint64_t settings = 0;  // a handler that is on its way when the alarm is set anew is of an older one
};

Alarm::Alarm(boost::asio::io_context& io) : timer_(std::make_shared<Timer>(io)) {}

Alarm::~Alarm() {
  cancel();
}

void Alarm::set(TimePoint when, std::function<void()> what) {
  const std::uint64_t setting = ++timer_->settings;
  timer_->timer.expires_at(when);
  timer_->timer.async_wait([timer = timer_, setting, what = std::move(what)](boost::system::error_code error) {
    if (!error && timer->settings == setting) what();
  });
}

void Alarm::cancel() {
  ++timer_->settings;
  timer_->timer.cancel();
}

}  // namespace drover
