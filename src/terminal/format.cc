#include "terminal/format.h"

#include <fmt/format.h>

#include <cmath>

namespace drover::cli {
namespace {

constexpr std::uint64_t kThousand = 1000;
constexpr std::uint64_t kMillion = kThousand * 1000;
constexpr std::uint64_t kBillion = kMillion * 1000;
constexpr std::uint64_t kTrillion = kBillion * 1000;

// Removes the zeros at the end of a decimal fraction, and the point if nothing is left behind it.
std::string without_trailing_zeros(std::string number) {
  if (number.find('.') == std::string::npos) return number;
  number.erase(number.find_last_not_of('0') + 1);
  if (number.back() == '.') number.pop_back();
  return number;
}

// Reads exactly `digits` digits at `position` and moves behind them.
std::optional<int> read_digits(std::string_view text, std::size_t& position, std::size_t digits) {
  if (position + digits > text.size()) return std::nullopt;
  int value = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    const char character = text[position + i];
    if (character < '0' || character > '9') return std::nullopt;
    value = value * 10 + (character - '0');
  }
  position += digits;
  return value;
}

bool read_character(std::string_view text, std::size_t& position, std::string_view accepted) {
  if (position >= text.size() || accepted.find(text[position]) == std::string_view::npos) return false;
  ++position;
  return true;
}

// Reads "Z" or "+hh:mm" up to the end of the text.
std::optional<std::chrono::minutes> read_zone(std::string_view text, std::size_t& position) {
  if (read_character(text, position, "Zz")) {
    return position == text.size() ? std::optional(std::chrono::minutes(0)) : std::nullopt;
  }
  const bool west = position < text.size() && text[position] == '-';
  if (!read_character(text, position, "+-")) return std::nullopt;
  const auto hours = read_digits(text, position, 2);
  if (!hours || !read_character(text, position, ":")) return std::nullopt;
  const auto minutes = read_digits(text, position, 2);
  if (!minutes || position != text.size()) return std::nullopt;
  const auto offset = std::chrono::hours(*hours) + std::chrono::minutes(*minutes);
  return west ? -offset : offset;
}

std::chrono::milliseconds read_fraction(std::string_view text, std::size_t& position) {
  int milliseconds = 0;
  int weight = 100;
  while (position < text.size() && text[position] >= '0' && text[position] <= '9') {
    milliseconds += (text[position++] - '0') * weight;
    weight /= 10;
  }
  return std::chrono::milliseconds(milliseconds);
}

}  // namespace

std::string human_bytes(std::uint64_t bytes) {
  double value = 0;
  std::string_view unit;
  if (bytes >= kTrillion) {
    value = static_cast<double>(bytes) / kTrillion;
    unit = "TB";
  } else if (bytes >= kBillion) {
    value = static_cast<double>(bytes) / kBillion;
    unit = "GB";
  } else if (bytes >= kMillion) {
    value = static_cast<double>(bytes) / kMillion;
    unit = "MB";
  } else if (bytes >= kThousand) {
    value = static_cast<double>(bytes) / kThousand;
    unit = "KB";
  } else {
    return fmt::format("{} B", bytes);
  }
  if (value >= 10 || value == std::trunc(value)) return fmt::format("{} {}", static_cast<std::uint64_t>(value), unit);
  return fmt::format("{:.1f} {}", value, unit);
}

std::string human_number(std::uint64_t number) {
  const auto scaled = [](double value, int decimals, char unit) {
    return fmt::format("{:.{}f}{}", value, value == std::floor(value) ? 0 : decimals, unit);
  };
  if (number >= kBillion) return scaled(static_cast<double>(number) / kBillion, 1, 'B');
  if (number >= kMillion) return scaled(static_cast<double>(number) / kMillion, 2, 'M');
  if (number >= kThousand) return fmt::format("{:.0f}K", static_cast<double>(number) / kThousand);
  return fmt::format("{}", number);
}

std::string human_duration(std::chrono::milliseconds duration) {
  const std::int64_t milliseconds = std::abs(duration.count());
  const std::int64_t seconds = milliseconds / 1000;
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return fmt::format("{} seconds", seconds);
  const std::int64_t minutes = seconds / 60;
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return fmt::format("{} minutes", minutes);
  const std::int64_t hours = (milliseconds + 1'800'000) / 3'600'000;
  if (hours == 1) return "About an hour";
  if (hours < 48) return fmt::format("{} hours", hours);
  if (hours < 24 * 7 * 2) return fmt::format("{} days", hours / 24);
  if (hours < 24 * 30 * 2) return fmt::format("{} weeks", hours / 24 / 7);
  if (hours < 24 * 365 * 2) return fmt::format("{} months", hours / 24 / 30);
  return fmt::format("{} years", hours / 24 / 365);
}

std::string human_time(Timestamp when, Timestamp now) {
  static const Timestamp kGoZero =
      std::chrono::sys_days(std::chrono::year(1) / std::chrono::January / std::chrono::day(1));
  constexpr std::chrono::hours kTwentyYears(24 * 365 * 21);
  if (when == kGoZero) return "Never";
  const auto ahead = when - now;
  if (ahead >= kTwentyYears) return "Forever";
  if (ahead > std::chrono::milliseconds(0)) return human_duration(ahead) + " from now";
  return human_duration(ahead) + " ago";
}

std::optional<Timestamp> parse_timestamp(std::string_view text) {
  std::size_t position = 0;
  const auto year = read_digits(text, position, 4);
  if (!year || !read_character(text, position, "-")) return std::nullopt;
  const auto month = read_digits(text, position, 2);
  if (!month || !read_character(text, position, "-")) return std::nullopt;
  const auto day = read_digits(text, position, 2);
  if (!day || !read_character(text, position, "Tt ")) return std::nullopt;
  const auto hour = read_digits(text, position, 2);
  if (!hour || !read_character(text, position, ":")) return std::nullopt;
  const auto minute = read_digits(text, position, 2);
  if (!minute || !read_character(text, position, ":")) return std::nullopt;
  const auto second = read_digits(text, position, 2);
  if (!second) return std::nullopt;
  std::chrono::milliseconds fraction(0);
  if (read_character(text, position, ".")) fraction = read_fraction(text, position);
  const auto zone = read_zone(text, position);
  if (!zone) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  return Timestamp(std::chrono::sys_days(date)) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second) + fraction - *zone;
}

std::string go_duration_text(std::chrono::nanoseconds duration) {
  const std::int64_t count = duration.count();
  if (count == 0) return "0s";
  const std::string sign = count < 0 ? "-" : "";
  // Negated as unsigned, because the lowest number has no positive twin.
  const std::uint64_t nanoseconds = count < 0 ? 0 - static_cast<std::uint64_t>(count) : count;
  const auto with_unit = [&](std::uint64_t scale, int decimals, std::string_view unit) {
    const auto fraction = fmt::format("{}.{:0{}}", nanoseconds / scale, nanoseconds % scale, decimals);
    return sign + without_trailing_zeros(fraction) + std::string(unit);
  };
  if (nanoseconds < kThousand) return fmt::format("{}{}ns", sign, nanoseconds);
  if (nanoseconds < kMillion) return with_unit(kThousand, 3, "µs");
  if (nanoseconds < kBillion) return with_unit(kMillion, 6, "ms");
  const std::uint64_t minutes = nanoseconds / (60 * kBillion);
  const std::uint64_t rest = nanoseconds % (60 * kBillion);
  const auto seconds = without_trailing_zeros(fmt::format("{}.{:09}", rest / kBillion, rest % kBillion)) + "s";
  if (minutes == 0) return sign + seconds;
  if (minutes < 60) return fmt::format("{}{}m{}", sign, minutes, seconds);
  return fmt::format("{}{}h{}m{}", sign, minutes / 60, minutes % 60, seconds);
}

std::string in_quotes(std::string_view text) {
  std::string result = "\"";
  for (const char character : text) {
    switch (character) {
      case '"':
        result += "\\\"";
        break;
      case '\\':
        result += "\\\\";
        break;
      case '\n':
        result += "\\n";
        break;
      case '\r':
        result += "\\r";
        break;
      case '\t':
        result += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(character) < 0x20 || character == 0x7f) {
          result += fmt::format("\\x{:02x}", static_cast<unsigned char>(character));
        } else {
          result += character;
        }
    }
  }
  return result + '"';
}

std::vector<std::string> split_words(std::string_view line) {
  constexpr std::string_view kBlank = " \t\r\n";
  std::vector<std::string> words;
  std::size_t start = line.find_first_not_of(kBlank);
  while (start != std::string_view::npos) {
    const std::size_t end = std::min(line.find_first_of(kBlank, start), line.size());
    words.emplace_back(line.substr(start, end - start));
    start = line.find_first_not_of(kBlank, end);
  }
  return words;
}

}  // namespace drover::cli
