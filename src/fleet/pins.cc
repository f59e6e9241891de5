#include "fleet/pins.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "fleet/submission.h"
#include "fleet/ticket.h"

namespace drover {
namespace {

constexpr auto kRetryInterval = std::chrono::seconds(1);

}  // namespace

Pins::Pins(boost::asio::io_context& io, Submit submit) : submit_(std::move(submit)), alarm_(io) {}

Pins::~Pins() = default;

void Pins::add(const ModelTarget& target) {
  const bool first = pins_.empty();
  pins_[target.key].target = target;
  if (first) alarm_.set(Clock::now(), [this] { load(); });
}

const ModelTarget* Pins::first_missing() const {
  for (const auto& [key, pin] : pins_) {
    if (!pin.loaded && (pin.ticket == nullptr || !pin.ticket->has_loaded())) return &pin.target;
  }
  return nullptr;
}

void Pins::stop() {
  stopped_ = true;
  alarm_.cancel();
}

// A back-off after a failed load refuses a request for a while, so it is made again.
void Pins::load() {
  bool all = true;
  for (auto& [key, pin] : pins_) {
    if (pin.ticket != nullptr && pin.ticket->has_ended()) {
      pin.loaded = pin.ticket->has_loaded();
      pin.ticket.reset();
    }
    if (pin.loaded) continue;
    all = false;
    if (pin.ticket == nullptr) ask_for(pin);
  }
  if (!all && !stopped_) alarm_.set(Clock::now() + kRetryInterval, [this] { load(); });
}

void Pins::ask_for(Pin& pin) {
  Submission submission;
  submission.target = pin.target;
  submission.client = "pin";
  submission.identity.client = "pin";
  submission.load_only = true;
  if (auto admitted = submit_(std::move(submission))) {
    pin.ticket = std::move(*admitted);
  } else if (const std::string& why = admitted.error().message; why != pin.refusal) {
    pin.refusal = why;
    spdlog::warn("the pinned model {} cannot be loaded now: {}", pin.target.name, why);
  }
}

}  // namespace drover
