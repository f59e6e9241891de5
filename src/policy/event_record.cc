#include "policy/event_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/quote.h"

namespace drover {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;
constexpr std::string_view kNotARecord = "this is not a record of DROVER_RECORD, or one of another version";

// Their slots are those in Event.
constexpr std::array kNames = {"admit",  "cancel", "unload",   "shutdown", "memory_bound", "load", "loaded", "slots",
                               "failed", "output", "finished", "progress", "blamed",       "gone", "tick"};
static_assert(kNames.size() == std::variant_size_v<Event>);

// ---- writing

class Line {
 public:
  explicit Line(std::string begin) : text_(std::move(begin)) { text_.reserve(192); }

  template <typename Number>
  Line& number(const char* name, Number value) {
    fmt::format_to(std::back_inserter(text_), ",\"{}\":{}", name, value);
    return *this;
  }
  Line& time(const char* name, Duration value) { return number(name, static_cast<std::int64_t>(value.count())); }
  Line& text(const char* name, std::string_view value) {
    fmt::format_to(std::back_inserter(text_), ",\"{}\":", name);
    append_quoted(text_, value);
    return *this;
  }
  // One that is not there is false.
  Line& flag(const char* name, bool value) { return value ? number(name, true) : *this; }
  Line& blame(const Blame& blame) {
    if (blame.request != RequestId{}) number("by", blame.request.value);
    return flag("outside", blame.from_outside);
  }
  std::string end() { return std::move(text_) + "}\n"; }

 private:
  std::string text_;
};

struct Writer {
  Line& line;
  const std::string& model;

  void operator()(const event::Admit& admit) const {
    const Arrival& a = admit.arrival;
    line.number("r", a.request.value).number("m", a.model.value).text("name", model).text("client", a.client);
    line.number("weight", a.client_weight).number("priority", static_cast<int>(a.priority));
    line.number("bytes", a.needs.memory_bytes).number("context", a.needs.context_length);
    line.time("keep", a.keep_alive);
    if (a.timeout) line.time("timeout", *a.timeout);
    line.flag("pinned", a.needs.pinned).flag("load_only", a.load_only);
  }
  void operator()(const event::Cancel& e) const { line.number("r", e.request.value); }
  void operator()(const event::Unload& e) const { line.number("m", e.model.value); }
  void operator()(const event::Shutdown&) const {}
  void operator()(const event::MemoryBound& e) const { line.number("bytes", e.bytes); }
  void operator()(const event::LoadProgress& e) const {
    line.number("n", e.runner.value).number("fraction", static_cast<double>(e.fraction));
  }
  void operator()(const event::Loaded& e) const {
    line.number("n", e.runner.value).number("slots", e.slots).number("context", e.context_length);
    line.number("bytes", e.memory_bytes);
  }
  void operator()(const event::SlotsChanged& e) const { line.number("n", e.runner.value).number("slots", e.slots); }
  void operator()(const event::LoadFailed& e) const {
    line.number("n", e.runner.value).flag("memory", e.memory).flag("missing", e.error.code == ErrorCode::kNotFound);
  }
  void operator()(const event::OutputSent& e) const { line.number("r", e.request.value); }
  void operator()(const event::Finished& e) const {
    line.number("r", e.request.value).number("prompt", e.prompt_tokens).number("output", e.output_tokens);
  }
  void operator()(const event::Progress& e) const { line.number("n", e.runner.value); }
  void operator()(const event::Blamed& e) const { line.number("n", e.runner.value).blame(e.blame); }
  void operator()(const event::RunnerGone& e) const { line.number("n", e.runner.value).blame(e.blame); }
  void operator()(const event::Tick&) const {}
};

// ---- reading

// The fields of one line. The first one that is missing or of a wrong kind makes the line a bad one.
class Fields {
 public:
  explicit Fields(const Json& object) : object_(object) {}

  template <typename Number>
  Number number(const char* name) {
    const auto found = object_.find(name);
    if (found != object_.end() && found->is_number()) return found->get<Number>();
    bad_ = true;
    return {};
  }
  template <typename Tag, typename Int>
  void id(const char* name, Id<Tag, Int>& into) {
    into.value = number<Int>(name);
  }
  Duration time(const char* name) { return Duration(number<std::int64_t>(name)); }
  bool has(const char* name) const { return object_.contains(name); }
  bool flag(const char* name) const { return object_.contains(name); }
  std::string text(const char* name) {
    const auto found = object_.find(name);
    if (found != object_.end() && found->is_string()) return found->get<std::string>();
    bad_ = true;
    return {};
  }
  Blame blame() {
    Blame blame;
    if (has("by")) id("by", blame.request);
    blame.from_outside = flag("outside");
    return blame;
  }
  bool bad() const { return bad_; }

 private:
  const Json& object_;
  bool bad_ = false;
};

void read(Fields& fields, event::Admit& e) {
  Arrival& a = e.arrival;
  fields.id("r", a.request);
  fields.id("m", a.model);
  a.client = fields.text("client");
  a.client_weight = fields.number<double>("weight");
  a.priority = static_cast<Priority>(std::clamp(fields.number<int>("priority"), 0, 2));
  a.needs.memory_bytes = fields.number<std::uint64_t>("bytes");
  a.needs.context_length = fields.number<int>("context");
  a.needs.pinned = fields.flag("pinned");
  if (fields.has("timeout")) a.timeout = fields.time("timeout");
  a.keep_alive = fields.time("keep");
  a.load_only = fields.flag("load_only");
}
void read(Fields& fields, event::Cancel& e) {
  fields.id("r", e.request);
}
void read(Fields& fields, event::Unload& e) {
  fields.id("m", e.model);
}
void read(Fields&, event::Shutdown&) {}
void read(Fields& fields, event::MemoryBound& e) {
  e.bytes = fields.number<std::uint64_t>("bytes");
}
void read(Fields& fields, event::LoadProgress& e) {
  fields.id("n", e.runner);
  e.fraction = fields.number<float>("fraction");
}
void read(Fields& fields, event::Loaded& e) {
  fields.id("n", e.runner);
  e.slots = fields.number<int>("slots");
  e.context_length = fields.number<int>("context");
  e.memory_bytes = fields.number<std::uint64_t>("bytes");
}
void read(Fields& fields, event::SlotsChanged& e) {
  fields.id("n", e.runner);
  e.slots = fields.number<int>("slots");
}
void read(Fields& fields, event::LoadFailed& e) {
  fields.id("n", e.runner);
  e.memory = fields.flag("memory");
  e.error = fields.flag("missing") ? not_found("the model is not there") : internal("the load failed");
}
void read(Fields& fields, event::OutputSent& e) {
  fields.id("r", e.request);
}
void read(Fields& fields, event::Finished& e) {
  fields.id("r", e.request);
  e.prompt_tokens = fields.number<std::uint32_t>("prompt");
  e.output_tokens = fields.number<std::uint32_t>("output");
}
void read(Fields& fields, event::Progress& e) {
  fields.id("n", e.runner);
}
void read(Fields& fields, event::Blamed& e) {
  fields.id("n", e.runner);
  e.blame = fields.blame();
}
void read(Fields& fields, event::RunnerGone& e) {
  fields.id("n", e.runner);
  e.how = "its process ended";
  e.blame = fields.blame();
}
void read(Fields&, event::Tick&) {}

template <std::size_t... Index>
Event event_at(std::size_t wanted, std::index_sequence<Index...>) {
  Event event;
  ((wanted == Index ? static_cast<void>(event.emplace<Index>()) : static_cast<void>(0)), ...);
  return event;
}

}  // namespace

std::string record_head(const DispatcherConfig& config) {
  Line line(fmt::format("{{\"drover_record\":{}", kVersion));
  line.number("queue_max", config.waiting_max).number("loaded_models_max", config.loaded_models_max);
  line.number("parallel", config.slots).number("memory_bytes_max", config.memory_bytes_max);
  line.time("request_timeout", config.request_timeout).time("load_timeout", config.load_timeout);
  line.time("hang_timeout", config.hang_timeout).time("load_backoff_first", config.load_backoff_first);
  line.time("crash_backoff_first", config.crash_backoff_first).time("backoff_max", config.backoff_max);
  line.time("residence_min", config.residence_min).time("low_ageing", config.low_ageing);
  return line.end();
}

Result<DispatcherConfig> read_record_head(std::string_view line) {
  const Json json = Json::parse(line.begin(), line.end(), nullptr, false);
  if (!json.is_object()) return Error{ErrorCode::kInvalidArgument, std::string(kNotARecord)};
  Fields fields(json);
  const int version = fields.number<int>("drover_record");
  DispatcherConfig config;
  config.waiting_max = fields.number<std::size_t>("queue_max");
  config.loaded_models_max = fields.number<int>("loaded_models_max");
  config.slots = fields.number<int>("parallel");
  config.memory_bytes_max = fields.number<std::uint64_t>("memory_bytes_max");
  config.request_timeout = fields.time("request_timeout");
  config.load_timeout = fields.time("load_timeout");
  config.hang_timeout = fields.time("hang_timeout");
  config.load_backoff_first = fields.time("load_backoff_first");
  config.crash_backoff_first = fields.time("crash_backoff_first");
  config.backoff_max = fields.time("backoff_max");
  config.residence_min = fields.time("residence_min");
  config.low_ageing = fields.time("low_ageing");
  if (fields.bad() || version != kVersion) return Error{ErrorCode::kInvalidArgument, std::string(kNotARecord)};
  return config;
}

std::string record_line(const RecordedEvent& recorded) {
  Line line(fmt::format("{{\"t\":{},\"e\":\"{}\"", recorded.at.count(), kNames[recorded.event.index()]));
  std::visit(Writer{line, recorded.model}, recorded.event);
  return line.end();
}

Result<RecordedEvent> read_record_line(std::string_view line) {
  const Json json = Json::parse(line.begin(), line.end(), nullptr, false);
  const auto bad = [](std::string_view why) { return Error{ErrorCode::kInvalidArgument, std::string(why)}; };
  if (!json.is_object()) return bad("the line is no JSON object");
  Fields fields(json);
  RecordedEvent recorded;
  recorded.at = fields.time("t");
  const std::string name = fields.text("e");
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return bad("the line is an event of an unknown kind");
  recorded.event = event_at(static_cast<std::size_t>(found - kNames.begin()),
                            std::make_index_sequence<std::variant_size_v<Event>>());
  std::visit([&](auto& event) { read(fields, event); }, recorded.event);
  if (std::holds_alternative<event::Admit>(recorded.event)) recorded.model = fields.text("name");
  if (fields.bad()) return bad("a field of the line is missing or of a wrong type");
  return recorded;
}

}  // namespace drover
