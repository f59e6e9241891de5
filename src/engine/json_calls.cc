#include "engine/json_calls.h"

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "base/text.h"

namespace drover {
namespace {

// Text between and after calls, apart from tags: the list around them, and code fences.
constexpr std::string_view kBetween = " \t\r\n,;[]`";
// Nested braces; a deeper object is not a call.
constexpr std::size_t kDepthMax = 64;
// Keys of the arguments, in order of preference.
constexpr const char* kArguments[] = {"arguments", "parameters", "args", "input"};

// Discarded: invalid JSON, or nested too deep to copy and print.
Json parse_bounded(std::string_view text) {
  std::size_t depth = 0;
  const auto not_too_deep = [&](int, Json::parse_event_t event, Json&) {
    if (event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start) ++depth;
    if (event == Json::parse_event_t::object_end || event == Json::parse_event_t::array_end) --depth;
    return depth <= kDepthMax;
  };
  return Json::parse(text, not_too_deep, false);
}

// The object, also if it is in a string; null if it is neither.
Json as_object(const Json& value) {
  if (value.is_object()) return value;
  if (value.is_string()) {
    Json inner = parse_bounded(value.get_ref<const std::string&>());
    if (inner.is_object()) return inner;
  }
  return nullptr;
}

}  // namespace

JsonCalls::JsonCalls(std::string_view tag, std::string_view tools_json) {
  const Json tools = Json::parse(tools_json, nullptr, false);
  for (const Json& tool : tools) {
    const Json function = tool.is_object() ? tool.value("function", Json()) : Json();
    const auto name = function.find("name");
    if (name != function.end() && name->is_string() && *name != "") names_.push_back(*name);
  }
  // A list that the tag opens is part of the JSON.
  while (!tag.empty() && (tag.back() == '[' || tag.back() == '{' || kBlanks.find(tag.back()) != std::string::npos)) {
    tag.remove_suffix(1);
  }
  tag_ = tag;
  if (tag_.size() > 2 && (tag_.front() == '<' || tag_.front() == '['))
    close_ = tag_.substr(0, 1) + "/" + tag_.substr(1);
}

void JsonCalls::push(std::string_view added, bool last, std::string& content, std::vector<Call>& found) {
  held_ += added;
  bool again = true;
  while (again && !held_.empty()) {
    switch (state_) {
      case State::kBeginning:
        again = beginning(last, content);
        break;
      case State::kText:
        again = text(last, content);
        break;
      case State::kCalls:
        again = calls(last, content, found);
        break;
    }
  }
}

bool JsonCalls::names_tool(std::string_view text) const {
  return std::any_of(names_.begin(), names_.end(),
                     [&](const std::string& name) { return text.find('"' + name + '"') != std::string_view::npos; });
}

void JsonCalls::cut_off(std::string& content) {
  const bool call = state_ == State::kCalls ? tagged_ || found_ || names_tool(held_)
                                            : partial_match(held_, tag_) >= kBeginningBytesMin;
  if (!call) content += held_;
  held_.clear();
}

// A tag that is a special token is not in the text, so an answer may begin with the JSON for any tag.
bool JsonCalls::beginning(bool last, std::string& content) {
  const auto first = std::min(held_.find_first_not_of(kBlanks), held_.size());
  const std::string_view start = std::string_view(held_).substr(first);
  const bool undecided = start.empty() || (start.size() < tag_.size() && std::string_view(tag_).starts_with(start));
  if (undecided && !last) return false;
  const bool tag = !tag_.empty() && start.starts_with(tag_);
  if (!tag && (start.starts_with('{') || start.starts_with('['))) {
    state_ = State::kCalls;
    return true;
  }
  state_ = State::kText;
  return text(last, content);
}

bool JsonCalls::text(bool last, std::string& content) {
  const std::size_t start = tag_.empty() ? std::string::npos : held_.find(tag_);
  const bool begins = start != std::string::npos;
  std::size_t certain = begins ? start : last ? held_.size() : held_.size() - partial_match(held_, tag_);
  // White space before a call belongs to the call.
  if (!tag_.empty() && (begins || !last)) {
    while (certain > 0 && kBlanks.find(held_[certain - 1]) != std::string_view::npos) --certain;
  }
  content += held_.substr(0, certain);
  held_.erase(0, certain);
  if (!begins) return false;
  state_ = State::kCalls;
  tagged_ = true;
  return true;
}

// The rest of a text between calls without tags, commas and the like.
std::string_view JsonCalls::without_marks(std::string_view text) const {
  while (true) {
    text = trimmed(text, kBetween);
    if (!tag_.empty() && text.starts_with(tag_)) {
      text.remove_prefix(tag_.size());
    } else if (!close_.empty() && text.starts_with(close_)) {
      text.remove_prefix(close_.size());
    } else {
      return text;
    }
  }
}

bool JsonCalls::calls(bool last, std::string& content, std::vector<Call>& found) {
  for (; scanned_ < held_.size(); ++scanned_) {
    const char c = held_[scanned_];
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
    } else if (depth_ > 0) {
      in_string_ = c == '"';
      if (c == '{') ++depth_;
      if (c == '}' && --depth_ == 0) return end_object(content, found);
    } else if (c == '{') {
      object_ = scanned_;
      depth_ = 1;
    } else if (!tagged_ && !found_ && kBetween.find(c) == std::string_view::npos) {
      state_ = State::kText;  // text that only begins with a bracket
      scanned_ = 0;
      return true;
    }
  }
  if (!last) return false;
  const bool nothing = found_ && depth_ == 0 && without_marks(held_).empty();
  if (!nothing) content += held_;
  held_.clear();
  return false;
}

// An object is complete: the held text up to its end is a call or content.
bool JsonCalls::end_object(std::string& content, std::vector<Call>& found) {
  const std::size_t end = std::exchange(scanned_, 0) + 1;
  const std::string_view object = std::string_view(held_).substr(object_, end - object_);
  Call call;
  if (read(object, call) || (tagged_ && read_named(std::string_view(held_).substr(0, object_), object, call))) {
    found.push_back(std::move(call));
    found_ = true;
  } else {
    content += held_.substr(0, end);
    state_ = State::kText;
  }
  held_.erase(0, end);
  return true;
}

bool JsonCalls::read(std::string_view object, Call& call) const {
  const Json json = parse_bounded(object);
  if (!json.is_object()) return false;
  // {"type": "function", "function": {…}}, as in OpenAI's API.
  if (const auto inner = json.find("function"); inner != json.end() && inner->is_object()) {
    return read(inner->dump(), call);
  }
  const auto named = std::find_if(json.begin(), json.end(), [this](const Json& value) {
    return value.is_string() &&
           std::find(names_.begin(), names_.end(), value.get_ref<const std::string&>()) != names_.end();
  });
  if (named == json.end()) return false;
  Json arguments = nullptr;
  for (const char* name : kArguments) {
    const auto value = json.find(name);
    if (arguments.is_null() && value != json.end()) arguments = as_object(*value);
  }
  for (const Json& value : json) {
    if (arguments.is_null() && value.is_object()) arguments = value;
  }
  call.name = named->get<std::string>();
  call.arguments_json = arguments.is_null() ? "{}" : to_text(arguments);
  return true;
}

// The name comes before the object, which has only the arguments.
bool JsonCalls::read_named(std::string_view before, std::string_view object, Call& call) const {
  for (const std::string& name : names_) {
    if (name.size() > call.name.size() && before.find(name) != std::string_view::npos) call.name = name;
  }
  if (call.name.empty() || !Json::accept(object)) return false;
  call.arguments_json = object;
  return true;
}

}  // namespace drover
