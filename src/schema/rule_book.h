// What the rewriting of a request's schemas comes to beside the schemas: rules, warnings, and what it may cost.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace drover::schema {

// Why a schema cannot be used: "#/properties/x: schema must be an object".
struct SchemaFault {
  std::string message;
};

class RuleBook {
 public:
  std::string where;  // which schema of the request this is
  std::string path;   // of the place in it
  bool strict = false;
  std::vector<std::string> warnings;

  [[noreturn]] void refuse(std::string_view problem) const;
  // `keyword` at this place is not kept. A warning, or with `strict` a fault.
  void lose(std::string_view keyword, std::string_view why = {});

  // The whole schema is not kept, for a fault's message.
  void ignore(const std::string& fault);

  void charge(int cost);
  void charge_copy(const Json& json);
  void charge_repetitions(int count);

  // A name like `wish` that no definition of the request has yet, of letters, digits and hyphens.
  std::string new_name(std::string_view wish);
  // The name of a definition whose rule is that for `key`; the same key has the same one. `make` is called with the
  // name that the converter gives to the rule, and returns its text, or an empty one: then there is no definition, and
  // the name is empty.
  template <typename Make>
  std::string rule(const std::string& key, const Make& make) {
    if (const auto found = keys_.find(key); found != keys_.end()) return found->second;
    std::string name = unused(kOwn);
    std::string text = make(rule_name(name));
    if (text.empty()) name.clear();
    if (!text.empty()) texts_.emplace(rule_name(name), std::move(text));
    return keys_.emplace(key, name).first->second;
  }

  bool has_rules() const { return !texts_.empty(); }
  std::string complete(const std::string& grammar) const;

 private:
  static constexpr const char* kOwn = "drover";  // definitions that begin like this are ours alone

  void warn(std::string text);
  std::string unused(const std::string& base);
  // As the converter calls the rule of "#/$defs/NAME".
  static std::string rule_name(const std::string& definition) { return "ref-defs-" + definition; }

  int cost_ = 0;
  int repetitions_ = 0;
  std::set<std::string> names_;
  std::map<std::string, std::string> keys_;
  std::map<std::string, std::string, std::less<>> texts_;  // by the name of the rule
};

// Adds to the path while it lives.
class PathStep {
 public:
  PathStep(RuleBook& book, std::string_view name) : book_(book), length_(book.path.size()) {
    book.path.append("/").append(name);
  }
  ~PathStep() { book_.path.resize(length_); }
  PathStep(const PathStep&) = delete;
  PathStep& operator=(const PathStep&) = delete;

 private:
  RuleBook& book_;
  const std::size_t length_;
};

}  // namespace drover::schema
