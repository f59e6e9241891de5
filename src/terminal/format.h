// How numbers, sizes and times are written for people: the way Ollama's CLI writes them. Pure functions, but for
// wall_time().
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace drover::cli {

// A point in time as the API sends it. Milliseconds reach far beyond the year 2262, where "for ever" lies.
using Timestamp = std::chrono::sys_time<std::chrono::milliseconds>;

// The time now.
inline Timestamp wall_time() {
  return std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

// Decimal units: "812 B", "4.7 GB", "13 GB".
std::string human_bytes(std::uint64_t bytes);

// "12K", "137.02M", "3.2B": thousands have no decimals, millions two, billions one, whole ones none.
std::string human_number(std::uint64_t number);

// "Less than a second", "About a minute", "2 hours". Negative durations count as positive.
std::string human_duration(std::chrono::milliseconds duration);

// "2 hours ago", "4 minutes from now", "Forever" for what is more than 20 years away, "Never" for Go's zero time.
std::string human_time(Timestamp when, Timestamp now);

// Parses RFC 3339 with any number of fractional digits; nullopt if it is something else.
std::optional<Timestamp> parse_timestamp(std::string_view text);

// As Go prints a time.Duration: "1.5s", "2m3.25s", "12.3µs", "0s".
std::string go_duration_text(std::chrono::nanoseconds duration);

// In double quotes, with \" \\ \n \r \t and other control characters escaped: for names in messages.
std::string in_quotes(std::string_view text);

// Splits at blanks, as a command line of the REPL is split. No quoting.
std::vector<std::string> split_words(std::string_view line);

}  // namespace drover::cli
