#include "fleet/request_log.h"

#include <fmt/format.h>

#include <iterator>

#include "base/quote.h"

namespace drover {
namespace {

// Of one field: an error may quote what a client sent.
constexpr std::size_t kFieldBytesMax = 1 << 10;

class Line {
 public:
  explicit Line(LogFormat format) : json_(format == LogFormat::kJson) {
    text_.reserve(384);
    if (!json_) text_ = "request";
  }

  void text(const char* name, std::string_view value) {
    if (value.empty()) return;
    begin(name);
    std::string kept;
    if (value.size() > kFieldBytesMax) value = kept = shortened(value, kFieldBytesMax);
    const bool bare = !json_ && value.find_first_of(" =\"\\\t\r\n") == std::string_view::npos;
    if (bare) {
      text_ += value;
    } else {
      append_quoted(text_, value);
    }
  }

  void milliseconds(const char* name, Duration value) {
    begin(name);
    const double shown = std::chrono::duration<double, std::milli>(value).count();
    fmt::format_to(std::back_inserter(text_), "{:.1f}", shown > 0 ? shown : 0.0);
  }

  void number(const char* name, std::uint64_t value) {
    begin(name);
    fmt::format_to(std::back_inserter(text_), "{}", value);
  }

  std::string take() { return std::move(text_); }

 private:
  void begin(const char* name) {
    if (json_) {
      fmt::format_to(std::back_inserter(text_), "{}\"{}\":", text_.empty() ? "" : ",", name);
    } else {
      fmt::format_to(std::back_inserter(text_), " {}=", name);
    }
  }

  bool json_;
  std::string text_;
};

}  // namespace

std::string request_line(const RequestRecord& record, LogFormat format) {
  const bool dispatched = record.dispatched != TimePoint{};
  const bool answered = record.first_output != TimePoint{};
  const TimePoint waited_until = dispatched ? record.dispatched : record.ended;
  Line line(format);
  line.text("id", record.identity.id);
  line.text("trace_id", record.identity.trace);
  line.text("client", record.identity.client);
  line.text("route", record.identity.route);
  line.text("model", record.model);
  line.text("outcome", kOutcomeNames[static_cast<std::size_t>(record.outcome)]);
  line.text("error", record.error);
  line.milliseconds("queue_ms", waited_until - record.arrived - record.load);
  line.milliseconds("load_ms", record.load);
  if (dispatched) {
    line.milliseconds("prefill_ms", (answered ? record.first_output : record.ended) - record.dispatched);
    line.milliseconds("decode_ms", answered ? record.ended - record.first_output : Duration::zero());
  }
  line.milliseconds("total_ms", record.ended - record.arrived);
  if (dispatched) {
    line.number("prompt_tokens", record.prompt_tokens);
    line.number("cached_tokens", record.cached_tokens);
    line.number("output_tokens", record.output_tokens);
    if (record.preempted > 0) line.number("preempted", record.preempted);
  }
  return line.take();
}

}  // namespace drover
