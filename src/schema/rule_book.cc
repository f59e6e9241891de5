#include "schema/rule_book.h"

#include <fmt/format.h>

#include <algorithm>

#include "schema/schema_rewrite.h"

namespace drover::schema {
namespace {

constexpr std::size_t kPathShownMax = 100;
constexpr std::size_t kWarningsMax = 100;
constexpr std::size_t kNameBytesMax = 40;

std::string shown(const std::string& path) {
  std::string text = path.substr(0, kPathShownMax);
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20; }, ' ');
  return path.size() > kPathShownMax ? text + "..." : text;
}

int weight_of(const Json& json) {
  int weight = 1;
  if (json.is_string()) weight += static_cast<int>(json.get_ref<const std::string&>().size() / 64);
  if (json.is_structured()) {
    for (const Json& part : json) weight += weight_of(part);
  }
  return weight;
}

}  // namespace

void RuleBook::refuse(std::string_view problem) const {
  throw SchemaFault{fmt::format("{}: {}", shown(path), problem)};
}

void RuleBook::lose(std::string_view keyword, std::string_view why) {
  const std::string reason = why.empty() ? "" : fmt::format(" ({})", why);
  if (strict) refuse(fmt::format("{} cannot be kept, which strict asks for{}", keyword, reason));
  warn(fmt::format("{}: {}: {} is not kept{}", where, shown(path), keyword, reason));
}

void RuleBook::ignore(const std::string& fault) {
  warn(fmt::format("{}: the schema is not kept ({})", where, fault));
}

void RuleBook::warn(std::string text) {
  if (warnings.size() >= kWarningsMax || std::find(warnings.begin(), warnings.end(), text) != warnings.end()) return;
  warnings.push_back(std::move(text));
}

void RuleBook::charge(int cost) {
  cost_ += cost;
  if (cost_ > kRewriteCostMax) refuse("too large, with what it refers to");
}

void RuleBook::charge_copy(const Json& json) {
  charge(weight_of(json));
}

void RuleBook::charge_repetitions(int count) {
  repetitions_ += count;
  if (repetitions_ > kRewriteRepetitionsMax) refuse("too large: the counts of all patterns amount to too much");
}

std::string RuleBook::new_name(std::string_view wish) {
  std::string base;
  for (const char c : wish.substr(0, kNameBytesMax)) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (plain || (!base.empty() && base.back() != '-')) base += plain ? c : '-';
  }
  if (base.empty()) base = "root";
  return unused(base.starts_with(kOwn) ? "s-" + base : base);
}

std::string RuleBook::unused(const std::string& base) {
  std::string name = base;
  for (std::size_t i = names_.size(); !names_.insert(name).second; ++i) name = fmt::format("{}-{}", base, i);
  return name;
}

std::string RuleBook::complete(const std::string& grammar) const {
  if (texts_.empty()) return grammar;
  std::string result;
  for (std::size_t start = 0; start < grammar.size();) {
    const std::size_t end = std::min(grammar.find('\n', start), grammar.size() - 1) + 1;
    const std::string_view line = std::string_view(grammar).substr(start, end - start);
    const auto found = texts_.find(line.substr(0, line.find(' ')));
    result += found == texts_.end() ? line : std::string_view(found->second);
    start = end;
  }
  return result;
}

}  // namespace drover::schema
