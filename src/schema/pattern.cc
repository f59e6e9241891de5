#include "schema/pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "schema/regex.h"

namespace drover::schema {
namespace {

using Kind = Regex::Kind;

// Parts that are copied while a pattern that may be empty becomes one that is not.
constexpr int kCopiesMax = 20'000;
constexpr std::size_t kRuleBytesMax = 64 << 10;
// Digits without a bound: a model that writes a number may not find its end.
constexpr int kDigitsMax = 100;

[[noreturn]] void not_supported(const char* problem) {
  throw RegexFault{false, problem};
}

Regex set_of(CodeSet set) {
  return {Kind::kSet, std::move(set)};
}

Regex repeated(Regex part, int min, int max) {
  Regex repeat{Kind::kRepeat};
  repeat.min = min;
  repeat.max = max;
  repeat.parts.push_back(std::move(part));
  return repeat;
}

Regex in_a_row(std::vector<Regex> parts) {
  Regex all{Kind::kSequence};
  all.parts = std::move(parts);
  return all;
}

Regex anything() {
  return repeated(set_of(CodeSet::all()), 0, -1);
}

bool is_edge(const Regex& part) {
  return part.kind == Kind::kStart || part.kind == Kind::kEnd || part.kind == Kind::kBoundary;
}

bool has_edges(const Regex& regex) {
  return is_edge(regex) || std::any_of(regex.parts.begin(), regex.parts.end(), has_edges);
}

bool may_be_empty(const Regex& regex) {
  switch (regex.kind) {
    case Kind::kSet:
      return false;
    case Kind::kChoice:
      return std::any_of(regex.parts.begin(), regex.parts.end(), may_be_empty);
    case Kind::kRepeat:
      return regex.min == 0 || may_be_empty(regex.parts.front());
    default:
      return std::all_of(regex.parts.begin(), regex.parts.end(), may_be_empty);
  }
}

// The characters that may come first, or last; nothing where it may be empty.
std::optional<CodeSet> edge_set(const Regex& regex, bool first) {
  if (is_edge(regex) || may_be_empty(regex)) return std::nullopt;
  if (regex.kind == Kind::kSet) return regex.set;
  if (regex.kind == Kind::kRepeat) return edge_set(regex.parts.front(), first);
  if (regex.kind == Kind::kSequence) return edge_set(first ? regex.parts.front() : regex.parts.back(), first);
  CodeSet all;
  for (const Regex& part : regex.parts) {
    const auto set = edge_set(part, first);
    if (!set) return std::nullopt;
    all.add(*set);
  }
  return all;
}

// ---- anchors: what binds a pattern to the ends of the string becomes what may stand before and after it

class Unanchored {
 public:
  // Where a part stands: at an end of the string that is open, at one that an anchor has closed, or inside.
  enum class At { kOpen, kClosed, kInside };

  static Regex of(const Regex& regex) { return part(regex, At::kOpen, At::kOpen); }

 private:
  static Regex part(const Regex& regex, At start, At end) {
    if (regex.kind == Kind::kSequence) return sequence(regex.parts, start, end);
    if (regex.kind != Kind::kChoice) return sequence({regex}, start, end);
    Regex all{Kind::kChoice};
    for (const Regex& one : regex.parts) all.parts.push_back(part(one, start, end));
    return all;
  }

  // Takes the anchors and boundaries off one side of `parts`. True: there is a boundary.
  static bool strip(std::vector<Regex>& parts, bool front, At& at) {
    bool boundary = false;
    while (!parts.empty()) {
      const Kind kind = front ? parts.front().kind : parts.back().kind;
      if (kind == Kind::kBoundary) {
        boundary = true;
      } else if (kind == (front ? Kind::kStart : Kind::kEnd)) {
        if (at == At::kInside) not_supported("an anchor inside");
        at = At::kClosed;
      } else {
        break;
      }
      parts.erase(front ? parts.begin() : parts.end() - 1);
    }
    return boundary;
  }

  static bool is_word(const Regex& neighbour, bool first) {
    const auto set = edge_set(neighbour, first);
    if (set && set->within(kWords)) return true;
    if (set && set->within(kWords.inverted())) return false;
    not_supported("\\b beside what may be a word or not");
  }

  // What may stand between an open end and a part that has to be the edge of a word.
  static Regex outside(bool word, bool front) {
    const Regex other = set_of(word ? kWords.inverted() : kWords);
    Regex some = front ? in_a_row({anything(), other}) : in_a_row({other, anything()});
    return word ? repeated(std::move(some), 0, 1) : some;
  }

  static Regex sequence(std::vector<Regex> parts, At start, At end) {
    const bool before = strip(parts, true, start);
    const bool after = strip(parts, false, end);
    std::vector<Regex> all;
    if (parts.empty()) {
      if (before || after) not_supported("\\b on its own");
      if (start == At::kOpen || end == At::kOpen) all.push_back(anything());
      return in_a_row(std::move(all));
    }
    if (before) add_edge(all, start, is_word(parts.front(), true), true);
    std::vector<Regex> tail;
    if (after) add_edge(tail, end, is_word(parts.back(), false), false);
    const At first = before ? At::kInside : start;
    const At last = after ? At::kInside : end;
    const bool opens_here = first == At::kOpen && !has_edges(parts.front());
    const bool ends_here = last == At::kOpen && !has_edges(parts.back());
    if (opens_here) all.push_back(anything());
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const At from = i > 0 || opens_here ? At::kInside : first;
      const At to = i + 1 < parts.size() || ends_here ? At::kInside : last;
      add(all, parts, i, from, to);
    }
    if (ends_here) all.push_back(anything());
    all.insert(all.end(), tail.begin(), tail.end());
    return in_a_row(std::move(all));
  }

  static void add_edge(std::vector<Regex>& into, At at, bool word, bool front) {
    if (at == At::kInside) not_supported("\\b inside a group");
    if (at == At::kOpen) {
      into.push_back(outside(word, front));
    } else if (!word) {
      not_supported("\\b at an end that is no word");
    }
  }

  static void add(std::vector<Regex>& into, const std::vector<Regex>& parts, std::size_t i, At start, At end) {
    const Regex& one = parts[i];
    if (one.kind == Kind::kBoundary) {
      if (is_word(parts[i - 1], false) == is_word(parts[i + 1], true)) not_supported("\\b inside a word");
      return;
    }
    if (one.kind == Kind::kStart || one.kind == Kind::kEnd) not_supported("an anchor inside");
    if (one.kind == Kind::kRepeat && has_edges(one)) not_supported("an anchor that is repeated");
    if (one.kind == Kind::kSet || one.kind == Kind::kRepeat) {
      into.push_back(one);
    } else {
      into.push_back(part(one, start, end));
    }
  }
};

// ---- lengths

struct Range {
  std::int64_t min = 0;
  std::int64_t max = 0;  // < 0: no bound
};

Range length_of(const Regex& regex) {
  if (regex.kind == Kind::kSet) return {1, 1};
  if (regex.kind == Kind::kRepeat) {
    const Range each = length_of(regex.parts.front());
    const bool endless = each.max != 0 && (each.max < 0 || regex.max < 0);
    constexpr std::int64_t kFar = 1'000'000'000;
    return {std::min(kFar, each.min * regex.min), endless ? -1 : std::min(kFar, each.max * std::max(regex.max, 0))};
  }
  Range all;
  bool first = true;
  for (const Regex& part : regex.parts) {
    const Range one = length_of(part);
    if (regex.kind == Kind::kSequence) {
      all = {all.min + one.min, all.max < 0 || one.max < 0 ? -1 : all.max + one.max};
    } else {
      all.min = first ? one.min : std::min(all.min, one.min);
      all.max = all.max < 0 || one.max < 0 ? -1 : std::max(all.max, one.max);
    }
    first = false;
  }
  return all;
}

// Narrows the one part of a sequence that has no fixed length, if it repeats single characters. False: it cannot be
// done like this. Sets `nothing` if no length is left.
bool fit_lengths(Regex& regex, const Lengths& lengths, bool& nothing) {
  const Range all = length_of(regex);
  const bool short_enough = !lengths.max || (all.max >= 0 && all.max <= *lengths.max);
  if (all.min >= lengths.min && short_enough) return true;
  nothing = (lengths.max && all.min > *lengths.max) || (all.max >= 0 && all.max < lengths.min);
  if (nothing) return true;
  if (regex.kind == Kind::kRepeat || regex.kind == Kind::kSet) regex = in_a_row({regex});
  if (regex.kind != Kind::kSequence) return false;
  Regex* open = nullptr;
  int fixed = 0;
  for (Regex& part : regex.parts) {
    const Range one = length_of(part);
    if (one.max == one.min) {
      fixed += static_cast<int>(one.min);
    } else if (open == nullptr && part.kind == Kind::kRepeat && part.parts.front().kind == Kind::kSet) {
      open = &part;
    } else {
      return open == nullptr && regex.parts.size() == 1 && fit_lengths(part, lengths, nothing);
    }
  }
  open->min = std::max(open->min, lengths.min - fixed);
  if (lengths.max) open->max = open->max < 0 ? *lengths.max - fixed : std::min(open->max, *lengths.max - fixed);
  return open->max < 0 || open->max <= kRepetitionMax;
}

int parts_of(const Regex& regex) {
  int count = 1;
  for (const Regex& part : regex.parts) count += parts_of(part);
  return count;
}

// ---- the grammar

class Writer {
 public:
  explicit Writer(const std::string& name) : name_(name) {}

  int repetitions() const { return repetitions_; }

  std::string write(const Regex& regex) {
    std::string body = text(regex);
    std::string all = fmt::format("{} ::= \"\\\"\" {} \"\\\"\"\n", name_, body);
    for (const std::string& rule : rules_) all += rule;
    if (all.size() > kRuleBytesMax) not_supported("too large");
    return all;
  }

 private:
  // One item, or several in a row; never alternatives without parentheses. Empty for nothing at all.
  std::string text(const Regex& regex) {
    switch (regex.kind) {
      case Kind::kSet: {
        std::string set = regex.set.grammar();
        if (set.empty()) not_supported("a class that no character is in");
        return set;
      }
      case Kind::kRepeat:
        return repeat(regex);
      case Kind::kChoice:
        return choice(regex);
      default:
        return sequence(regex);
    }
  }

  std::string sequence(const Regex& regex) {
    std::string all;
    for (const Regex& part : regex.parts) {
      const std::string one = text(part);
      if (one.empty()) continue;
      if (!all.empty()) all += ' ';
      all += one;
    }
    return all;
  }

  std::string choice(const Regex& regex) {
    std::vector<std::string> choices;
    bool empty = false;
    for (const Regex& part : regex.parts) {
      std::string one = text(part);
      if (one.empty()) {
        empty = true;
      } else if (std::find(choices.begin(), choices.end(), one) == choices.end()) {
        choices.push_back(std::move(one));
      }
    }
    if (choices.empty()) return {};
    return fmt::format("({}){}", fmt::join(choices, " | "), empty ? "?" : "");
  }

  // The engine refuses what repeats something that may be empty.
  std::string repeat(const Regex& regex) {
    const Regex& part = regex.parts.front();
    int min = regex.min;
    int max = regex.max;
    if (max == 0) return {};
    if (max < 0 && part.kind == Kind::kSet && part.set.within(kDigits)) max = std::max(min, kDigitsMax);
    std::string one;
    if (may_be_empty(part)) {
      const auto some = not_empty(part);
      if (!some) return {};
      one = text(*some);
      min = 0;
    } else {
      one = text(part);
    }
    if (one.empty()) return {};
    repetitions_ += std::max(min, max);
    if (min == 1 && max == 1) return one;
    if (part.kind != Kind::kSet) one = named(one);
    if (max < 0 && min <= 1) return one + (min == 0 ? "*" : "+");
    if (min == 0 && max == 1) return one + "?";
    if (max < 0) return fmt::format("{}{{{},}}", one, min);
    return min == max ? fmt::format("{}{{{}}}", one, min) : fmt::format("{}{{{},{}}}", one, min, max);
  }

  // The engine counts the repetitions in a group that is repeated, and those in a rule that has a name only once.
  std::string named(const std::string& body) {
    std::string name = fmt::format("{}x{}", name_, rules_.size());
    rules_.push_back(fmt::format("{} ::= {}\n", name, body));
    return name;
  }

  // The same without the empty string; nothing if there is no other.
  std::optional<Regex> not_empty(const Regex& regex) {
    if (++copies_ > kCopiesMax) not_supported("too many parts that may be empty");
    if (!may_be_empty(regex)) return regex;
    Regex all{Kind::kChoice};
    if (regex.kind == Kind::kRepeat) {
      auto one = not_empty(regex.parts.front());
      if (!one || regex.max == 0) return std::nullopt;
      return repeated(std::move(*one), 1, regex.max);
    }
    for (std::size_t i = 0; i < regex.parts.size(); ++i) {
      auto one = not_empty(regex.parts[i]);
      if (!one) continue;
      std::vector<Regex> row{std::move(*one)};
      if (regex.kind == Kind::kSequence) {
        for (std::size_t k = i + 1; k < regex.parts.size(); ++k) copies_ += parts_of(regex.parts[k]);
        row.insert(row.end(), regex.parts.begin() + static_cast<std::ptrdiff_t>(i) + 1, regex.parts.end());
      }
      all.parts.push_back(in_a_row(std::move(row)));
    }
    if (all.parts.empty()) return std::nullopt;
    return all;
  }

  const std::string name_;
  std::vector<std::string> rules_;
  int copies_ = 0;
  int repetitions_ = 0;
};

void check_counts(const Regex& regex) {
  if (regex.kind == Kind::kRepeat && (regex.min > kRepetitionMax || regex.max > kRepetitionMax)) {
    not_supported("more than 2000 repetitions");
  }
  for (const Regex& part : regex.parts) check_counts(part);
}

}  // namespace

PatternRules pattern_rules(std::string_view pattern, const Lengths& lengths, const std::string& name) {
  PatternRules rules;
  try {
    Regex regex = Unanchored::of(parse_regex(pattern));
    check_counts(regex);
    bool nothing = false;
    rules.lengths_kept = fit_lengths(regex, lengths, nothing);
    if (nothing) {
      rules.fault = PatternRules::Fault::kNothing;
      rules.problem = "no string matches the pattern within minLength and maxLength";
    } else {
      Writer writer(name);
      rules.text = writer.write(regex);
      rules.repetitions = writer.repetitions();
    }
  } catch (const RegexFault& fault) {
    rules.fault = fault.invalid ? PatternRules::Fault::kInvalid : PatternRules::Fault::kUnsupported;
    rules.problem = fault.problem;
  }
  return rules;
}

}  // namespace drover::schema
