#include "base/go_duration.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace drover {
namespace {

using std::chrono::nanoseconds;

constexpr double kNanosecondsMax = 9.2e18;

double unit_ns(std::string_view unit) {
  if (unit == "ns") return 1;
  if (unit == "us" || unit == "µs" || unit == "μs") return 1e3;
  if (unit == "ms") return 1e6;
  if (unit == "s") return 1e9;
  if (unit == "m") return 60e9;
  if (unit == "h") return 3600e9;
  return 0;
}

nanoseconds saturate(double ns) {
  if (ns >= kNanosecondsMax) return nanoseconds::max();
  if (ns <= -kNanosecondsMax) return nanoseconds::min();
  return nanoseconds(static_cast<std::int64_t>(std::llround(ns)));
}

bool is_number_char(char c) {
  return (c >= '0' && c <= '9') || c == '.';
}

}  // namespace

Result<nanoseconds> parse_go_duration(std::string_view text) {
  const auto fail = [&] { return invalid("time: invalid duration \"" + std::string(text) + "\""); };
  std::string_view rest = text;
  double sign = 1;
  if (!rest.empty() && (rest.front() == '-' || rest.front() == '+')) {
    sign = rest.front() == '-' ? -1 : 1;
    rest.remove_prefix(1);
  }
  if (rest == "0") return nanoseconds(0);
  if (rest.empty()) return fail();
  double total_ns = 0;
  while (!rest.empty()) {
    std::size_t digits = 0;
    while (digits < rest.size() && is_number_char(rest[digits])) ++digits;
    double number = 0;
    const auto parsed = std::from_chars(rest.data(), rest.data() + digits, number, std::chars_format::fixed);
    if (digits == 0 || parsed.ec != std::errc() || parsed.ptr != rest.data() + digits) return fail();
    rest.remove_prefix(digits);
    std::size_t letters = 0;
    while (letters < rest.size() && !is_number_char(rest[letters])) ++letters;
    if (letters == 0) return invalid("time: missing unit in duration \"" + std::string(text) + "\"");
    const double scale = unit_ns(rest.substr(0, letters));
    if (scale == 0) {
      return invalid("time: unknown unit \"" + std::string(rest.substr(0, letters)) + "\" in duration \"" +
                     std::string(text) + "\"");
    }
    rest.remove_prefix(letters);
    total_ns += number * scale;
  }
  return saturate(sign * total_ns);
}

Result<nanoseconds> parse_seconds_or_go_duration(std::string_view text) {
  double seconds = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), seconds, std::chars_format::fixed);
  const bool whole = !text.empty() && parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  if (whole && std::isfinite(seconds)) {  // "inf" and "nan" are numbers to from_chars
    return saturate(seconds * 1e9);
  }
  return parse_go_duration(text);
}

}  // namespace drover
