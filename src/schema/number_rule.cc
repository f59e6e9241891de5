#include "schema/number_rule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace drover::schema {
namespace {

constexpr std::size_t kDigitsMax = 40;
constexpr std::size_t kWholeDigits = 16;
constexpr std::size_t kFractionDigits = 15;
constexpr std::size_t kScaledDigitsMax = 17;
constexpr std::int64_t kListedMax = 200;      // numbers that are multiples, written one by one
constexpr std::int64_t kRemaindersMax = 100;  // rules for what is left of a number by a divisor

std::string digits(std::size_t least, std::size_t most) {
  if (most == 0) return {};
  if (least == most) return least == 1 ? "[0-9]" : fmt::format("[0-9]{{{}}}", least);
  return fmt::format("[0-9]{{{},{}}}", least, most);
}

std::string zeros(std::size_t least, std::size_t most) {
  return most == 0 ? std::string() : fmt::format("\"0\"{{{},{}}}", least, most);
}

std::string joined(const std::string& first, const std::string& second) {
  return first.empty() || second.empty() ? first + second : first + " " + second;
}

using Text = std::optional<std::string>;  // nothing: no such number

Text one_of(const std::vector<std::string>& choices, bool or_nothing) {
  if (choices.empty()) return or_nothing ? Text("") : std::nullopt;
  if (or_nothing) return fmt::format("({})?", fmt::join(choices, " | "));
  return choices.size() == 1 ? choices.front() : fmt::format("({})", fmt::join(choices, " | "));
}

// Numbers of 0 and more between two bounds, digit by digit from the left. As long as what has been written is the
// beginning of a bound, that bound decides which digits may come next: it is tight.
class Between {
 public:
  Between(Decimal low, bool low_excluded, Decimal high, bool high_excluded, std::size_t fraction_max)
      : low_(std::move(low)),
        high_(std::move(high)),
        low_excluded_(low_excluded),
        high_excluded_(high_excluded),
        fraction_max_(fraction_max) {}

  Text text() {
    std::vector<std::string> choices;
    for (std::size_t length = low_.whole.size(); length <= high_.whole.size(); ++length) {
      length_ = length;
      if (auto some = whole(0, length == low_.whole.size(), length == high_.whole.size())) choices.push_back(*some);
    }
    return one_of(choices, false);
  }

 private:
  static char at(const std::string& text, std::size_t i) { return i < text.size() ? text[i] : '0'; }

  template <typename Rest>
  void digit_choices(char low, char high, bool low_tight, bool high_tight, std::vector<std::string>& choices,
                     Rest rest) {
    if (low > high) return;
    const auto add = [&](char from, char to, Text after) {
      if (from > to || !after) return;
      choices.push_back(joined(from == to ? fmt::format("\"{}\"", from) : fmt::format("[{}-{}]", from, to), *after));
    };
    if (low_tight && high_tight && low == high) return add(low, low, rest(true, true));
    if (low_tight) add(low, low, rest(true, false));
    const char from = static_cast<char>(low + (low_tight ? 1 : 0));
    const char to = static_cast<char>(high - (high_tight ? 1 : 0));
    if (from <= to) add(from, to, rest(false, false));
    if (high_tight) add(high, high, rest(false, true));
  }

  Text whole(std::size_t i, bool low_tight, bool high_tight) {
    if (i == length_) return after_whole(low_tight, high_tight);
    const char least = i == 0 && length_ > 1 ? '1' : '0';
    if (!low_tight && !high_tight) {
      const Text after = after_whole(false, false);
      const std::string rest =
          joined(digits(length_ - i - (least == '1' ? 1 : 0), length_ - i - (least == '1' ? 1 : 0)), *after);
      return least == '1' ? joined("[1-9]", rest) : rest;
    }
    std::vector<std::string> choices;
    const char low = low_tight ? low_.whole[i] : least;
    const char high = high_tight ? high_.whole[i] : '9';
    digit_choices(low, high, low_tight, high_tight, choices,
                  [&](bool lower, bool upper) { return whole(i + 1, lower, upper); });
    return one_of(choices, false);
  }

  bool may_end(std::size_t i, bool low_tight, bool high_tight) const {
    const bool above = !low_tight || (i >= low_.fraction.size() && !low_excluded_);
    const bool below = !high_tight || i < high_.fraction.size() || !high_excluded_;
    return above && below;
  }

  Text after_whole(bool low_tight, bool high_tight) {
    std::vector<std::string> choices;
    if (fraction_max_ > 0) {
      if (const Text some = fraction(0, low_tight, high_tight)) choices.push_back(joined("\".\"", *some));
    }
    return one_of(choices, may_end(0, low_tight, high_tight));
  }

  // Not all zeros, up to `most` digits.
  static Text not_zero(std::size_t most) {
    if (most == 0) return std::nullopt;
    const std::string here = joined("[1-9]", digits(0, most - 1));
    const Text later = not_zero(most - 1);
    return later ? fmt::format("({} | \"0\" {})", here, *later) : here;
  }

  // What may follow in a fraction of which `i` digits are there; at least one more if there is none yet.
  Text fraction(std::size_t i, bool low_tight, bool high_tight) {
    const std::size_t most = fraction_max_ - i;
    const std::size_t least = i == 0 ? 1 : 0;
    const bool end = i > 0 && may_end(i, low_tight, high_tight);
    if (!low_tight && !high_tight) return digits(least, most);
    if (most == 0) return end ? Text("") : std::nullopt;
    if (i >= low_.fraction.size() && i >= high_.fraction.size()) {
      if (high_tight) {
        const bool none = high_excluded_ || (low_tight && low_excluded_);
        return none ? std::nullopt : Text(zeros(least, most));
      }
      return low_excluded_ ? not_zero(most) : Text(digits(least, most));
    }
    std::vector<std::string> choices;
    const char low = low_tight ? at(low_.fraction, i) : '0';
    const char high = high_tight ? at(high_.fraction, i) : '9';
    digit_choices(low, high, low_tight, high_tight, choices,
                  [&](bool lower, bool upper) { return fraction(i + 1, lower, upper); });
    return one_of(choices, end);
  }

  const Decimal low_;
  const Decimal high_;
  const bool low_excluded_;
  const bool high_excluded_;
  const std::size_t fraction_max_;
  std::size_t length_ = 0;  // of the whole part
};

Decimal without_sign(Decimal number) {
  number.negative = false;
  return number;
}

Decimal largest(const std::optional<Decimal>& beside) {
  const std::size_t length = std::max(kWholeDigits, beside ? beside->whole.size() : 0);
  return {false, std::string(length, '9'), {}};
}

// The numbers within the bounds, as a body of a rule.
Text range(const NumberBounds& bounds, std::size_t fraction_max) {
  std::vector<std::string> choices;
  const bool some_negative = !bounds.min || bounds.min->negative;
  const bool some_positive = !bounds.max || !bounds.max->negative;
  if (some_negative) {
    const bool below_zero = bounds.max && bounds.max->negative;
    const Decimal low = below_zero ? without_sign(*bounds.max) : Decimal();
    const Decimal high = bounds.min ? without_sign(*bounds.min) : largest(bounds.max);
    const bool low_excluded = !below_zero || bounds.max_excluded;  // zero has no sign
    if (const Text some = Between(low, low_excluded, high, bounds.min && bounds.min_excluded, fraction_max).text()) {
      choices.push_back(joined("\"-\"", *some));
    }
  }
  if (some_positive) {
    const bool from_min = bounds.min && !bounds.min->negative;
    const Decimal low = from_min ? *bounds.min : Decimal();
    const Decimal high = bounds.max ? *bounds.max : largest(bounds.min);
    const bool high_excluded = bounds.max && bounds.max_excluded;
    if (const Text some = Between(low, from_min && bounds.min_excluded, high, high_excluded, fraction_max).text()) {
      choices.push_back(*some);
    }
  }
  return one_of(choices, false);
}

// ---- multiples

std::optional<std::int64_t> scaled(const Decimal& number, std::size_t places) {
  if (number.whole.size() + places > kScaledDigitsMax || number.fraction.size() > places) return std::nullopt;
  std::string text = number.whole + number.fraction;
  text.append(places - number.fraction.size(), '0');
  const std::int64_t value = std::strtoll(text.c_str(), nullptr, 10);
  return number.negative ? -value : value;
}

std::string written(std::int64_t value, std::size_t places) {
  std::string text = std::to_string(std::abs(value));
  if (text.size() <= places) text.insert(0, places + 1 - text.size(), '0');
  std::string fraction = text.substr(text.size() - places);
  text.resize(text.size() - places);
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  return (value < 0 ? "-" : "") + text + (fraction.empty() ? "" : "." + fraction);
}

std::int64_t floor_of(std::int64_t value, std::int64_t by) {
  return value / by - (value % by < 0 ? 1 : 0);
}

// All multiples between two bounds, if they are few.
std::optional<std::string> listed(const NumberBounds& bounds, const std::string& name) {
  if (!bounds.min || !bounds.max) return std::nullopt;
  const std::size_t places =
      std::max({bounds.multiple_of->fraction.size(), bounds.min->fraction.size(), bounds.max->fraction.size()});
  const auto by = scaled(*bounds.multiple_of, places);
  const auto min = scaled(*bounds.min, places);
  const auto max = scaled(*bounds.max, places);
  if (!by || !min || !max || *by == 0) return std::nullopt;
  const std::int64_t first = -floor_of(-*min - (bounds.min_excluded ? 1 : 0), *by);
  const std::int64_t last = floor_of(*max - (bounds.max_excluded ? 1 : 0), *by);
  if (last - first >= kListedMax) return std::nullopt;
  const auto one = scaled({false, "1", {}}, places);
  std::vector<std::string> choices;
  for (std::int64_t i = first; i <= last; ++i) {
    if (bounds.integer && one && i * *by % *one != 0) continue;
    choices.push_back('"' + written(i * *by, places) + '"');
  }
  return choices.empty() ? std::string() : fmt::format("{} ::= {}\n", name, fmt::join(choices, " | "));
}

// Whole numbers that `by` divides, of any size: one rule for each remainder of what has been written.
std::string divisible(std::int64_t by, bool negative, bool zero, const std::string& name) {
  const auto steps = [&](std::int64_t remainder, int first_digit) {
    std::vector<std::string> by_target(static_cast<std::size_t>(by));
    for (int digit = first_digit; digit <= 9; ++digit) {
      by_target[static_cast<std::size_t>((remainder * 10 + digit) % by)] += static_cast<char>('0' + digit);
    }
    std::vector<std::string> choices;
    for (std::int64_t target = 0; target < by; ++target) {
      const std::string& some = by_target[static_cast<std::size_t>(target)];
      if (!some.empty()) choices.push_back(fmt::format("[{}] {}x{}", some, name, target));
    }
    return fmt::format("{}", fmt::join(choices, " | "));
  };
  std::string text =
      fmt::format("{} ::= {}{}({})\n", name, zero ? "\"0\" | " : "", negative ? "\"-\"? " : "", steps(0, 1));
  for (std::int64_t remainder = 0; remainder < by; ++remainder) {
    const std::string more = steps(remainder, 0);
    text += remainder == 0 ? fmt::format("{}x0 ::= ({})?\n", name, more)
                           : fmt::format("{}x{} ::= {}\n", name, remainder, more);
  }
  return text;
}

bool is_one_after_zeros(const std::string& fraction) {
  return !fraction.empty() && fraction.find_first_not_of('0') == fraction.size() - 1 && fraction.back() == '1';
}

}  // namespace

std::optional<Decimal> decimal_of(const Json& number) {
  if (!number.is_number()) return std::nullopt;
  std::string text = number.is_number_unsigned()  ? std::to_string(number.get<std::uint64_t>())
                     : number.is_number_integer() ? std::to_string(number.get<std::int64_t>())
                                                  : fmt::format("{}", number.get<double>());
  Decimal decimal;
  if (text.front() == '-') {
    decimal.negative = true;
    text.erase(0, 1);
  }
  int exponent = 0;
  if (const std::size_t e = text.find('e'); e != std::string::npos) {
    exponent = std::atoi(text.c_str() + e + 1);
    text.resize(e);
  }
  if (std::abs(exponent) > static_cast<int>(kDigitsMax) || text.find_first_not_of("0123456789.") != text.npos) {
    return std::nullopt;
  }
  const std::size_t point = text.find('.');
  std::string all = text.substr(0, point) + (point == text.npos ? "" : text.substr(point + 1));
  int whole = static_cast<int>(point == text.npos ? text.size() : point) + exponent;
  if (whole <= 0) {
    all.insert(0, static_cast<std::size_t>(1 - whole), '0');
    whole = 1;
  }
  const auto length = static_cast<std::size_t>(whole);
  if (all.size() < length) all.append(length - all.size(), '0');
  decimal.whole = all.substr(0, length);
  decimal.fraction = all.substr(length);
  decimal.whole.erase(0, std::min(decimal.whole.find_first_not_of('0'), decimal.whole.size() - 1));
  while (!decimal.fraction.empty() && decimal.fraction.back() == '0') decimal.fraction.pop_back();
  if (decimal.whole.size() > kDigitsMax || decimal.fraction.size() > kDigitsMax) return std::nullopt;
  if (decimal.zero()) decimal.negative = false;
  return decimal;
}

NumberRules number_rules(const NumberBounds& bounds, const std::string& name) {
  NumberRules rules;
  std::size_t fraction_max = kFractionDigits;
  for (const auto& bound : {bounds.min, bounds.max}) {
    if (bound) fraction_max = std::max(fraction_max, bound->fraction.size());
  }
  bool integer = bounds.integer;
  if (bounds.multiple_of && !bounds.multiple_of->zero() && !bounds.multiple_of->negative) {
    const Decimal& by = *bounds.multiple_of;
    if (const auto few = listed(bounds, name)) return {*few, true};
    const bool unit = by.whole == "1" && by.fraction.empty();
    if (unit || (by.whole == "0" && is_one_after_zeros(by.fraction))) {
      fraction_max = by.fraction.size();
      integer = integer || unit;
      rules.multiple_of_kept = true;
    } else if (const auto divisor = scaled(by, 0); divisor && *divisor <= kRemaindersMax) {
      const bool free = !bounds.max && (!bounds.min || bounds.min->zero());
      const bool zero = !bounds.min || !bounds.min_excluded;
      if (free) return {divisible(*divisor, !bounds.min, zero, name), true};
    }
  }
  if (const Text body = range(bounds, integer ? 0 : fraction_max)) {
    rules.text = fmt::format("{} ::= {}\n", name, *body);
  }
  return rules;
}

}  // namespace drover::schema
