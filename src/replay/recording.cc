#include "replay/recording.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

namespace drover {
namespace {

constexpr Duration kDayMax = std::chrono::hours(24 * 366);

// What the policy takes for granted, because the fleet sees to it.
bool is_sound(const Arrival& arrival, RequestId last) {
  return arrival.request > last && std::isnormal(arrival.client_weight) && arrival.client_weight > 0;
}

}  // namespace

Result<Recording> read_recording(std::istream& file) {
  std::string line;
  if (!std::getline(file, line)) return invalid("the file is empty");
  Result<DispatcherConfig> head = read_record_head(line);
  if (!head) return std::move(head).error();
  Recording recording;
  recording.config = *head;
  Duration before{};
  RequestId last;
  for (std::uint64_t number = 2; std::getline(file, line); ++number) {
    const bool whole = !file.eof();  // else it has no end
    Result<RecordedEvent> event = read_record_line(line);
    if (!event && !whole) {
      recording.cut = true;
      break;
    }
    if (!event) return invalid(fmt::format("line {}: {}", number, event.error().message));
    if (event->at < before || event->at > kDayMax) return invalid(fmt::format("line {}: its time is wrong", number));
    if (const auto* admit = std::get_if<event::Admit>(&event->event)) {
      if (!is_sound(admit->arrival, last)) return invalid(fmt::format("line {}: no such request can come", number));
      last = admit->arrival.request;
    }
    before = event->at;
    recording.events.push_back(*std::move(event));
  }
  return recording;
}

}  // namespace drover
