#include "store/json_reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <utility>
#include <vector>

#include "base/utf8.h"

namespace drover {
namespace {

using Members = std::vector<std::pair<std::string, Json>>;

// A string as long as this is taken from the parser instead of copied: the parser's buffer is not needed twice.
constexpr std::size_t kStringMovedMin = 64 << 10;
// So much of a number that is too large is shown.
constexpr std::size_t kNumberShownMax = 32;
// Up to so many keys are compared one by one.
constexpr std::size_t kKeysComparedMax = 8;
constexpr std::size_t kUnitEscapeBytes = 6;  // \uXXXX

// The UTF-16 unit that the escape "\\uXXXX" at the front of `text` stands for; nothing if there is none.
std::optional<std::uint16_t> escaped_unit(std::string_view text) {
  std::uint16_t unit = 0;
  if (text.size() < kUnitEscapeBytes || !text.starts_with("\\u")) return std::nullopt;
  const char* end = text.data() + kUnitEscapeBytes;
  const auto parsed = std::from_chars(text.data() + 2, end, unit, 16);
  return parsed.ec == std::errc() && parsed.ptr == end ? std::optional(unit) : std::nullopt;
}

bool is_high_surrogate(std::uint16_t unit) {
  return unit >= 0xd800 && unit < 0xdc00;
}

bool is_low_surrogate(std::uint16_t unit) {
  return unit >= 0xdc00 && unit < 0xe000;
}

// What stands in a string at the front of `text`: so many bytes, which are either fine or to become U+FFFD.
struct Piece {
  std::size_t bytes = 1;
  bool fine = true;
};

Piece piece_of(std::string_view text) {
  if (text.front() != '\\') {
    const std::size_t bytes = character_bytes(text);
    return {std::max<std::size_t>(bytes, 1), bytes > 0};
  }
  const auto unit = escaped_unit(text);
  if (!unit) return {2, true};
  if (is_high_surrogate(*unit)) {
    const auto next = escaped_unit(text.substr(kUnitEscapeBytes));
    if (next && is_low_surrogate(*next)) return {2 * kUnitEscapeBytes, true};
  }
  return {kUnitEscapeBytes, !is_high_surrogate(*unit) && !is_low_surrogate(*unit)};
}

// `text` with U+FFFD for what is no Unicode in its strings, as Go's decoder reads it; nothing if there is none. That is
// half of a surrogate pair as an escape, which JavaScript makes of a text that is cut within an emoji, and each byte
// that is not part of UTF-8. The parser would refuse both. Outside of strings they are wrong syntax, and stay.
std::optional<std::string> with_replacements(std::string_view text) {
  std::string replaced;
  std::size_t taken = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"') in_string = !in_string;
    if (!in_string || (static_cast<unsigned char>(c) < 0x80 && c != '\\')) {
      ++i;
      continue;
    }
    const Piece piece = piece_of(text.substr(i));
    if (!piece.fine) {
      replaced.append(text, taken, i - taken);
      // As long as what it stands for where that can be: places in errors stay right.
      replaced += piece.bytes == kUnitEscapeBytes ? "\\ufffd" : "\xef\xbf\xbd";
      taken = i + piece.bytes;
    }
    i += piece.bytes;
  }
  if (taken == 0) return std::nullopt;
  return replaced.append(text, taken);
}

std::string syntax_text(std::string_view text, std::size_t position) {
  if (position == 0 || position > text.size()) return "unexpected EOF";
  const char culprit = text[position - 1];
  const auto byte = static_cast<unsigned char>(culprit);
  const std::string shown = byte >= 0x20 && byte < 0x7f ? std::string(1, culprit) : fmt::format("\\x{:02x}", byte);
  return fmt::format("invalid character '{}' looking for beginning of value (at byte {})", shown, position);
}

// Marks those of `members` that are not to stay: of the members of one key the first one gets the last one's value.
// Sorted and not hashed: no choice of keys makes it slow.
std::vector<bool> find_repeated(Members& members) {
  std::vector<bool> repeated(members.size());
  std::vector<std::size_t> order(members.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const int compared = members[a].first.compare(members[b].first);
    return compared != 0 ? compared < 0 : a < b;
  });
  std::size_t first = 0;
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (members[order[i]].first != members[order[first]].first) {
      first = i;
    } else {
      members[order[first]].second = std::move(members[order[i]].second);
      repeated[order[i]] = true;
    }
  }
  return repeated;
}

bool any_repeated(const Members& members) {
  if (members.size() > kKeysComparedMax) return true;  // possibly
  for (std::size_t i = 1; i < members.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) {
      if (members[i].first == members[k].first) return true;
    }
  }
  return false;
}

// Filled without ever looking a key up, which in this type means to compare it with all.
Json object_of(Members& members) {
  std::vector<bool> repeated;
  if (any_repeated(members)) repeated = find_repeated(members);
  Json::object_t object;
  object.reserve(members.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (repeated.empty() || !repeated[i]) {
      object.emplace_back(std::move(members[i].first), std::move(members[i].second));
    }
  }
  return Json(std::move(object));
}

// Builds a tree from the parser's events, each list and object once it is complete.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view text, const JsonBounds& bounds, std::size_t& values)
      : text_(text), bounds_(bounds), values_(values) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override {
    return value.size() < kStringMovedMin ? add(std::as_const(value)) : add(std::move(value));
  }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(true); }
  bool start_array(std::size_t) override { return open(false); }
  bool key(string_t& key) override {
    Open& object = open_.back();
    if (object.members.size() == bounds_.keys_max) {
      return fail(JsonFault::Kind::kKeys, fmt::format("json: exceeded max keys of {} in one object", bounds_.keys_max));
    }
    object.members.emplace_back(key, nullptr);
    return true;
  }
  bool end_object() override {
    Open done = std::move(open_.back());
    open_.pop_back();
    place(object_of(done.members));
    return true;
  }
  bool end_array() override {
    Open done = std::move(open_.back());
    open_.pop_back();
    place(std::move(done.items));
    return true;
  }
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::detail::exception& error) override {
    const bool number = dynamic_cast<const Json::out_of_range*>(&error) != nullptr;
    return fail(JsonFault::Kind::kSyntax,
                number ? fmt::format("json: cannot unmarshal number {} into Go value of type float64",
                                     token.substr(0, kNumberShownMax))
                       : syntax_text(text_, position));
  }

  Json result;
  std::optional<JsonFault> fault;

 private:
  struct Open {
    bool is_object = false;
    Members members;
    Json::array_t items;
  };

  bool fail(JsonFault::Kind kind, std::string message) {
    fault = JsonFault{kind, std::move(message)};
    return false;
  }

  bool count() {
    if (++values_ <= bounds_.values_max) return true;
    return fail(JsonFault::Kind::kValues, fmt::format("json: exceeded max values of {}", bounds_.values_max));
  }

  bool open(bool is_object) {
    if (open_.size() == bounds_.depth_max) {
      return fail(JsonFault::Kind::kDepth, fmt::format("json: exceeded max depth of {}", bounds_.depth_max));
    }
    if (!count()) return false;
    open_.emplace_back().is_object = is_object;
    return true;
  }

  bool add(Json value) {
    if (!count()) return false;
    place(std::move(value));
    return true;
  }

  void place(Json value) {
    if (open_.empty()) {
      result = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().members.back().second = std::move(value);
    } else {
      open_.back().items.push_back(std::move(value));
    }
  }

  const std::string_view text_;
  const JsonBounds& bounds_;
  std::size_t& values_;
  std::vector<Open> open_;
};

}  // namespace

std::optional<JsonFault> JsonReader::read(std::string_view given, Json& into) {
  const auto replaced = with_replacements(given);
  const std::string_view text = replaced ? *replaced : given;
  Builder builder(text, bounds_, values_);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return builder.fault.value_or(JsonFault{JsonFault::Kind::kSyntax, "unexpected EOF"});
  }
  into = std::move(builder.result);
  return std::nullopt;
}

}  // namespace drover
